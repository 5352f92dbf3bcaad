# Writes OUT: what is in BINARY, in SPDX 2.3 (JSON). Of the linker's own MAP it takes which archives were really linked, of
# the executable which libraries it loads; OPENED are those that it opens when they are wanted. The package system knows
# their versions; elsewhere there is none to be asserted.
cmake_policy(SET CMP0057 NEW)

# What stands in a name -> name, licence, home; the first that matches.
set(known
  "liblua~Lua~MIT~https://www.lua.org/"
  "libuv~libuv~MIT AND ISC AND BSD-2-Clause~https://libuv.org/"
  "libhttp_parser~http-parser~MIT~https://github.com/nodejs/http-parser"
  "libjansson~jansson~MIT~https://github.com/akheron/jansson"
  "libminizip~minizip~Zlib~https://www.winimage.com/zLibDll/minizip.html"
  "libmd~libmd~BSD-3-Clause AND Beerware~https://www.hadrons.org/software/libmd/"
  "libz~zlib~Zlib~https://zlib.net/"
  "libsodium~libsodium~ISC~https://libsodium.org/"
  "libbrotli~brotli~MIT~https://github.com/google/brotli"
  "libsqlite3~SQLite~blessing~https://sqlite.org/"
  "libgcc~libgcc~GPL-3.0-or-later WITH GCC-exception-3.1~https://gcc.gnu.org/"
  "lib(c|m|dl|rt|pthread|mvec|resolv)[.-]~C library~-~-"
  "ld-linux~C library~-~-")
# One of musl's is told by the folder that it lies in.
set(libc_glibc "LGPL-2.1-or-later~https://www.gnu.org/software/libc/")
set(libc_musl "MIT~https://musl.libc.org/")

# Sets name, licence, home and id for a library's file.
function(identify file)
  get_filename_component(base ${file} NAME)
  foreach(row IN LISTS known)
    string(REPLACE "~" ";" row "${row}")
    list(GET row 0 pattern)
    if(base MATCHES "^${pattern}")
      list(GET row 1 name)
      list(GET row 2 licence)
      list(GET row 3 home)
      if(name STREQUAL "C library")
        set(name glibc)
        if(file MATCHES "musl")
          set(name musl)
        endif()
        string(REPLACE "~" ";" of_libc "${libc_${name}}")
        list(GET of_libc 0 licence)
        list(GET of_libc 1 home)
      endif()
      string(MAKE_C_IDENTIFIER "${name}" id)
      string(REPLACE "_" "-" id "${id}")
      foreach(fact name licence home id)
        set(${fact} "${${fact}}" PARENT_SCOPE)
      endforeach()
      return()
    endif()
  endforeach()
  message(FATAL_ERROR "${OUT}: what is ${file}? cmake/sbom.cmake has to know its name and licence")
endfunction()

# Sets source and version, of Debian's package that the file came with; empty elsewhere.
function(ask_package_system file)
  set(source "" PARENT_SCOPE)
  set(version "" PARENT_SCOPE)
  find_program(DPKG_QUERY dpkg-query)
  if(NOT DPKG_QUERY)
    return()
  endif()
  get_filename_component(base ${file} NAME)
  get_filename_component(real ${file} REALPATH)
  foreach(path ${real} */${base})
    execute_process(COMMAND ${DPKG_QUERY} -S ${path} OUTPUT_VARIABLE owner ERROR_QUIET)
    if(owner MATCHES "^([^:\n]+(:[^: \n]+)?): ")
      execute_process(COMMAND ${DPKG_QUERY} -W "-f=\${source:Package};\${source:Version}" ${CMAKE_MATCH_1}
                      OUTPUT_VARIABLE facts)
      list(GET facts 0 package)
      list(GET facts 1 number)
      set(source ${package} PARENT_SCOPE)
      set(version ${number} PARENT_SCOPE)
      return()
    endif()
  endforeach()
endfunction()

set(packages "")
set(relations "")
set(seen "")
function(relate id how)
  if(how STREQUAL "OPTIONAL_DEPENDENCY_OF")
    set(line "{\"spdxElementId\": \"SPDXRef-${id}\", \"relationshipType\": \"${how}\", \"relatedSpdxElement\": \"SPDXRef-moonpool\"}")
  else()
    set(line "{\"spdxElementId\": \"SPDXRef-moonpool\", \"relationshipType\": \"${how}\", \"relatedSpdxElement\": \"SPDXRef-${id}\"}")
  endif()
  set(relations "${relations},\n    ${line}" PARENT_SCOPE)
endfunction()

macro(add_library_of file how)
  identify(${file})
  if(NOT id IN_LIST seen)
    list(APPEND seen ${id})
    set(reference "")
    set(number "")
    if(NOT "${how}" STREQUAL "OPTIONAL_DEPENDENCY_OF") # that one is chosen where the program runs
      ask_package_system(${file})
      if(version)
        string(REPLACE "+" "%2B" escaped "${version}")
        string(REPLACE ":" "%3A" escaped "${escaped}")
        string(REPLACE "~" "%7E" escaped "${escaped}")
        set(reference ",\n      \"externalRefs\": [{\"referenceCategory\": \"PACKAGE-MANAGER\", \"referenceType\": \"purl\", \"referenceLocator\": \"pkg:deb/debian/${source}@${escaped}?arch=source\"}]")
        set(number "\n      \"versionInfo\": \"${version}\",")
      endif()
    endif()
    string(APPEND packages ",\n    {\n      \"SPDXID\": \"SPDXRef-${id}\",\n      \"name\": \"${name}\",${number}
      \"downloadLocation\": \"NOASSERTION\",\n      \"homepage\": \"${home}\",\n      \"filesAnalyzed\": false,
      \"licenseConcluded\": \"${licence}\",\n      \"licenseDeclared\": \"${licence}\",
      \"copyrightText\": \"NOASSERTION\"${reference}\n    }")
    relate(${id} ${how})
  endif()
endmacro()

file(STRINGS ${MAP} lines REGEX "^/[^ ]*\\.a\\(|^ [^ ]+ +0x[^ ]+ +0x[^ ]+ /[^ ]*\\.a\\(")
set(archives "")
foreach(line IN LISTS lines)
  string(REGEX MATCH "/[^ ]*\\.a" archive "${line}")
  list(APPEND archives ${archive})
endforeach()
list(REMOVE_DUPLICATES archives)
list(FILTER archives EXCLUDE REGEX "/libc_nonshared\\.a$") # the part of the shared one that cannot be shared
foreach(archive IN LISTS archives)
  add_library_of(${archive} STATIC_LINK)
endforeach()
execute_process(COMMAND ${READELF} -dW ${BINARY} OUTPUT_VARIABLE dynamic COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "\\(NEEDED\\)[^\n]*\\[[^]\n]+" needed "${dynamic}")
foreach(line IN LISTS needed)
  string(REGEX REPLACE ".*\\[" "" file "${line}")
  add_library_of(${file} DYNAMIC_LINK)
endforeach()
foreach(file IN LISTS OPENED)
  add_library_of(${file} OPTIONAL_DEPENDENCY_OF)
endforeach()

string(TIMESTAMP now UTC)
string(SHA256 sum "${VERSION}${packages}${relations}")
file(WRITE ${OUT} "{
  \"spdxVersion\": \"SPDX-2.3\",
  \"dataLicense\": \"CC0-1.0\",
  \"SPDXID\": \"SPDXRef-DOCUMENT\",
  \"name\": \"moonpool-${VERSION}\",
  \"documentNamespace\": \"https://spdx.org/spdxdocs/moonpool-${VERSION}-${sum}\",
  \"creationInfo\": {\"created\": \"${now}\", \"creators\": [\"Tool: moonpool-build\"]},
  \"packages\": [
    {
      \"SPDXID\": \"SPDXRef-moonpool\",
      \"name\": \"moonpool\",
      \"versionInfo\": \"${VERSION}\",
      \"primaryPackagePurpose\": \"APPLICATION\",
      \"downloadLocation\": \"NOASSERTION\",
      \"filesAnalyzed\": false,
      \"licenseConcluded\": \"MIT\",
      \"licenseDeclared\": \"MIT\",
      \"copyrightText\": \"Copyright (c) 2026 the Moonpool authors\"
    }${packages}
  ],
  \"relationships\": [
    {\"spdxElementId\": \"SPDXRef-DOCUMENT\", \"relationshipType\": \"DESCRIBES\", \"relatedSpdxElement\": \"SPDXRef-moonpool\"}${relations}
  ]
}
")
