# libmoonpool, static and shared: the rooms and `embed`, with no symbol to be seen but those of moonpool.h. Lua, libuv and
# the others are the system's: the host may use them too.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# Whatever rooms there are.
get_property(rooms DIRECTORY ${CMAKE_SOURCE_DIR} PROPERTY BUILDSYSTEM_TARGETS)
list(FILTER rooms INCLUDE REGEX "^room_")
set(objects "")
foreach(name IN LISTS rooms)
  list(APPEND objects $<TARGET_OBJECTS:${name}>)
endforeach()

function(need_shared variable name)
  find_library(MOONPOOL_${variable} NAMES lib${name}.so ${name} REQUIRED)
  list(APPEND shared_libraries ${MOONPOOL_${variable}})
  set(shared_libraries ${shared_libraries} PARENT_SCOPE)
endfunction()
set(shared_libraries "")
need_shared(LIB_LUA lua5.4)
need_shared(LIB_UV uv)
need_shared(LIB_HTTP_PARSER http_parser)
need_shared(LIB_JANSSON jansson)
need_shared(LIB_Z z)
need_shared(LIB_MINIZIP minizip)
need_shared(LIB_MD md)
set(private_libs "-llua5.4 -luv -lhttp_parser -ljansson -lminizip -lmd -lz")
if(BROTLI_INCLUDE AND MOONPOOL_BROTLI STREQUAL "static")
  need_shared(LIB_BROTLI brotlienc)
  string(APPEND private_libs " -lbrotlienc")
endif()
if(MOONPOOL_SQLITE STREQUAL "static")
  need_shared(LIB_SQLITE sqlite3)
  string(APPEND private_libs " -lsqlite3")
endif()
string(APPEND private_libs " -ldl -lrt -lm -lpthread")

# The version in the name of the shared one is that of the ABI: moonpool.h says what it promises.
set(MOONPOOL_ABI 0)
set(map ${CMAKE_SOURCE_DIR}/cmake/libmoonpool.map)
add_library(moonpool_shared SHARED ${objects})
set_target_properties(moonpool_shared PROPERTIES OUTPUT_NAME moonpool LINKER_LANGUAGE C VERSION ${PROJECT_VERSION}
                      SOVERSION ${MOONPOOL_ABI} LINK_DEPENDS ${map})
target_link_libraries(moonpool_shared PRIVATE ${shared_libraries} Threads::Threads dl rt m)
target_link_options(moonpool_shared PRIVATE -Wl,--version-script=${map} -Wl,-z,relro,-z,now -Wl,--as-needed)
if(NOT MOONPOOL_SANITIZE)
  target_link_options(moonpool_shared PRIVATE -Wl,-z,defs)
endif()
if(one_piece)
  target_link_options(moonpool_shared PRIVATE -fno-lto)
endif()

# One object, in which everything but the public functions is local: names of ours cannot meet names of the host's.
file(STRINGS ${map} public REGEX "^ +mp_[a-z_]+;")
list(TRANSFORM public STRIP)
list(TRANSFORM public REPLACE ";" "")
list(JOIN public "\n" text)
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/libmoonpool.symbols CONTENT "${text}\n")
set(whole ${CMAKE_BINARY_DIR}/libmoonpool.o)
set(archive ${CMAKE_BINARY_DIR}/libmoonpool.a)
add_custom_command(
  OUTPUT ${archive}
  COMMAND ${CMAKE_C_COMPILER} -r -nostdlib -fno-lto -o ${whole} ${objects}
  COMMAND ${CMAKE_OBJCOPY} --keep-global-symbols=${CMAKE_BINARY_DIR}/libmoonpool.symbols
          "--remove-section=.gnu.lto_*" "--remove-section=.gnu.debuglto_*" ${whole}
  COMMAND ${CMAKE_COMMAND} -E rm -f ${archive}
  COMMAND ${CMAKE_AR} rcs ${archive} ${whole}
  DEPENDS ${objects} ${map}
  COMMAND_EXPAND_LISTS VERBATIM COMMENT "one object: libmoonpool.a")
add_custom_target(moonpool_static ALL DEPENDS ${archive})

file(RELATIVE_PATH up /p/${CMAKE_INSTALL_LIBDIR}/pkgconfig /p)
configure_file(${CMAKE_SOURCE_DIR}/cmake/moonpool.pc.in ${CMAKE_BINARY_DIR}/moonpool.pc @ONLY)
configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/moonpool-config.cmake.in ${CMAKE_BINARY_DIR}/moonpool-config.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/moonpool
                              PATH_VARS CMAKE_INSTALL_LIBDIR CMAKE_INSTALL_INCLUDEDIR)
# One component for who installs by hand, two packages of Debian's.
set(development library)
if(MOONPOOL_PACKAGE)
  set(development development)
endif()
write_basic_package_version_file(${CMAKE_BINARY_DIR}/moonpool-config-version.cmake COMPATIBILITY SameMinorVersion)
install(TARGETS moonpool_shared LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library
        NAMELINK_COMPONENT ${development})
install(FILES ${archive} DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT ${development})
install(FILES ${CMAKE_SOURCE_DIR}/include/moonpool.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT ${development})
install(FILES ${CMAKE_BINARY_DIR}/moonpool.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT ${development})
install(FILES ${CMAKE_BINARY_DIR}/moonpool-config.cmake ${CMAKE_BINARY_DIR}/moonpool-config-version.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/moonpool COMPONENT ${development})
