# Between installing into a package's folder and closing it: what Debian's policy wants packed is packed, and the archive
# of the library loses what only a debugger reads.
file(GLOB_RECURSE packed ${CPACK_TEMPORARY_DIRECTORY}/*/usr/share/man/*.[15]
     ${CPACK_TEMPORARY_DIRECTORY}/*/usr/share/doc/*/changelog ${CPACK_TEMPORARY_DIRECTORY}/*/usr/share/doc/*/changelog.Debian)
foreach(file IN LISTS packed)
  execute_process(COMMAND gzip -9n ${file} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
file(GLOB_RECURSE archives ${CPACK_TEMPORARY_DIRECTORY}/*.a)
foreach(file IN LISTS archives)
  execute_process(COMMAND strip --strip-debug --enable-deterministic-archives ${file} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
