# What is installed beside the program, and Debian's packages: a component of the installation is one of these.
set(packaging ${CMAKE_SOURCE_DIR}/packaging)
install(FILES ${packaging}/man/moonpool.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT server)
install(FILES ${packaging}/man/moonpool.conf.lua.5 DESTINATION ${CMAKE_INSTALL_MANDIR}/man5 COMPONENT server)
install(FILES ${packaging}/completion/moonpool.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
        RENAME moonpool COMPONENT server)
install(FILES ${packaging}/completion/_moonpool DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions
        COMPONENT server)
install(FILES ${CMAKE_SOURCE_DIR}/NOTICES ${CMAKE_SOURCE_DIR}/SECURITY.md DESTINATION ${CMAKE_INSTALL_DOCDIR}
        COMPONENT server)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR}/docs COMPONENT server)
if(MOONPOOL_SBOM)
  install(FILES ${CMAKE_BINARY_DIR}/moonpool.spdx.json DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT server)
endif()
install(DIRECTORY ${CMAKE_SOURCE_DIR}/examples DESTINATION ${CMAKE_INSTALL_DATADIR}/moonpool COMPONENT examples
        USE_SOURCE_PERMISSIONS PATTERN "*.db*" EXCLUDE)
if(NOT MOONPOOL_PACKAGE)
  return()
endif()

set(MOONPOOL_MAINTAINER "The Moonpool authors <moonpool@example.org>" CACHE STRING "who answers for the packages")
set(debian ${packaging}/debian)
install(FILES ${packaging}/systemd/moonpool.service ${packaging}/systemd/moonpool.socket
        DESTINATION lib/systemd/system COMPONENT server)
install(FILES ${debian}/environment DESTINATION ${CMAKE_INSTALL_FULL_SYSCONFDIR}/moonpool COMPONENT server
        PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ) # passwords may come to stand in it

install(FILES ${debian}/lintian DESTINATION ${CMAKE_INSTALL_DATADIR}/lintian/overrides RENAME moonpool COMPONENT server)

set(names_server moonpool)
set(names_library libmoonpool0)
set(names_development libmoonpool-dev)
set(names_examples moonpool-examples)
set(sections_server httpd)
set(sections_library libs)
set(sections_development libdevel)
set(sections_examples doc)
file(READ ${CMAKE_SOURCE_DIR}/LICENSE licence)
file(READ ${CMAKE_SOURCE_DIR}/NOTICES notices)
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/copyright CONTENT "Moonpool\n\n@licence@\n\n@notices@" @ONLY)
set(dated "${PROJECT_VERSION}-1")
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/changelog.Debian @ONLY CONTENT
"moonpool (@dated@) unstable; urgency=medium

  * What changed is in changelog.gz.

 -- @MOONPOOL_MAINTAINER@  Thu, 01 Jan 1970 00:00:00 +0000
")
foreach(component server library development examples)
  string(TOUPPER ${component} which)
  set(CPACK_DEBIAN_${which}_PACKAGE_NAME ${names_${component}})
  set(CPACK_DEBIAN_${which}_FILE_NAME DEB-DEFAULT)
  set(CPACK_DEBIAN_${which}_PACKAGE_SECTION ${sections_${component}})
  set(folder ${CMAKE_INSTALL_DATADIR}/doc/${names_${component}})
  install(FILES ${CMAKE_BINARY_DIR}/copyright ${CMAKE_BINARY_DIR}/changelog.Debian DESTINATION ${folder}
          COMPONENT ${component})
  install(FILES ${CMAKE_SOURCE_DIR}/CHANGELOG.md DESTINATION ${folder} RENAME changelog COMPONENT ${component})
endforeach()

set(about "Handlers are written straight down and wait for processes, files and databases
without holding anybody else up; a master supervises worker processes, reloads
without losing a request, and says what became of each program it started.")
set(CPACK_COMPONENT_SERVER_DESCRIPTION "web server scripted in Lua, with supervised workers\n${about}")
set(CPACK_COMPONENT_LIBRARY_DESCRIPTION "web server scripted in Lua, as a library
The server inside a program of its own: in its process or in workers, with
functions in C that Lua waits for.")
set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION "web server scripted in Lua, for programs that embed it
Header, archive, and what pkg-config and CMake need.")
set(CPACK_COMPONENT_EXAMPLES_DESCRIPTION "apps for the web server Moonpool
From the smallest one to a page that runs scripts, in /usr/share/moonpool.")

# Opened when they are first wanted (docs/api.md).
set(opened "libsodium23, libbrotli1, libsqlite3-0")
set(CPACK_DEBIAN_SERVER_PACKAGE_RECOMMENDS "${opened}")
set(CPACK_DEBIAN_SERVER_PACKAGE_SUGGESTS "moonpool-examples, lua-busted")
set(CPACK_DEBIAN_LIBRARY_PACKAGE_RECOMMENDS "${opened}")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "libmoonpool0 (= ${dated}), liblua5.4-dev, libuv1-dev, libhttp-parser-dev, \
libjansson-dev, libminizip-dev, libmd-dev, zlib1g-dev")
set(CPACK_DEBIAN_EXAMPLES_PACKAGE_RECOMMENDS "moonpool")
set(CPACK_DEBIAN_EXAMPLES_PACKAGE_ARCHITECTURE all)
set(CPACK_DEBIAN_SERVER_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_LIBRARY_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=")
set(CPACK_DEBIAN_LIBRARY_PACKAGE_CONTROL_EXTRA ${debian}/triggers)
set(CPACK_DEBIAN_SERVER_PACKAGE_CONTROL_EXTRA ${debian}/conffiles ${debian}/postinst ${debian}/prerm ${debian}/postrm)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

set(CPACK_GENERATOR DEB)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_ALL server library development examples)
set(CPACK_PACKAGE_NAME moonpool)
set(CPACK_PACKAGE_CONTACT "${MOONPOOL_MAINTAINER}")
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_STRIP_FILES ON)
set(CPACK_PRE_BUILD_SCRIPTS ${debian}/finish.cmake)
include(CPack)
