/* code.h - SQLite's result codes as the names that its documentation has for them. */
#ifndef MP_DB_CODE_H
#define MP_DB_CODE_H

/* "SQLITE_BUSY" for SQLITE_BUSY and all its extended forms; of constraints the extended name, as in
 * "SQLITE_CONSTRAINT_UNIQUE", because which one it was is what matters. Static. */
const char *mp_db_code_name(int code);

#endif
