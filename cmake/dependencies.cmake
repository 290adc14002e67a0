# Where dependencies come from: what the system has, else (DTM_FETCH_DEPS) a pinned source.
# A source that is already on disk is taken instead with -DFETCHCONTENT_SOURCE_DIR_HTTPLIB=path,
# _NLOHMANN_JSON, _CATCH2.
include(FetchContent)
if(POLICY CMP0135)
  cmake_policy(SET CMP0135 NEW)  # time stamps of extracted files
endif()

FetchContent_Declare(nlohmann_json
  URL https://github.com/nlohmann/json/releases/download/v3.11.3/json.tar.xz
  URL_HASH SHA256=d6c65aca6b1ed68e7a182f4757257b107ae403032760ed6ef121c9d55e81757d)
FetchContent_Declare(httplib
  URL https://github.com/yhirose/cpp-httplib/archive/refs/tags/v0.53.1.tar.gz
  URL_HASH SHA256=185af9587e270de9a3bfee234c6740f02e82265da33c7a41f97e02ee42f979d2)
FetchContent_Declare(catch2
  URL https://github.com/catchorg/Catch2/archive/refs/tags/v3.7.1.tar.gz
  URL_HASH SHA256=c991b247a1a0d7bb9c39aa35faf0fe9e19764213f28ffba3109388e62ee0269c)

# Makes `target` exist: dtm_dependency(<name above> <target> <Debian package> <find_package arguments...>).
# Sets <name>_available, and <name>_source to "system" or "fetched".
macro(dtm_dependency name target package)
  string(TOUPPER ${name} _dtm_upper)
  set(${name}_source system)
  if(NOT TARGET ${target} AND NOT DTM_FETCH_DEPS STREQUAL "ALWAYS" AND NOT FETCHCONTENT_SOURCE_DIR_${_dtm_upper})
    find_package(${ARGN} QUIET)
    if(TARGET ${target})
      dtm_make_global(${target})
    endif()
  endif()
  if(NOT TARGET ${target} AND (DTM_FETCH_DEPS OR FETCHCONTENT_SOURCE_DIR_${_dtm_upper}))
    set(${name}_source fetched)
    dtm_fetch(${name} ${target})
  endif()
  if(TARGET ${target})
    set(${name}_available TRUE)
    message(STATUS "dtm: ${target} (${${name}_source})")
  else()
    set(${name}_available FALSE)
    dtm_missing(${target} ${package} "or configure with -DDTM_FETCH_DEPS=ON to download a pinned version")
  endif()
endmacro()

# Makes a found target visible to projects that add_subdirectory us.
function(dtm_make_global target)
  get_target_property(imported ${target} IMPORTED)
  if(imported)
    set_target_properties(${target} PROPERTIES IMPORTED_GLOBAL TRUE)
  endif()
endfunction()

# A function, so that the variables set for the fetched project stay inside.
function(dtm_fetch name target)
  set(CMAKE_POLICY_DEFAULT_CMP0077 NEW)  # let the variables below set its options
  set(JSON_BuildTests OFF)
  set(JSON_Install ${DTM_INSTALL})       # else "not in any export set" when dtm is installed
  set(JSON_SystemInclude ON)
  set(HTTPLIB_INSTALL ${DTM_INSTALL})
  set(HTTPLIB_USE_ZLIB_IF_AVAILABLE OFF)  # else what a program links depends on what this machine has; dtm needs none
  set(HTTPLIB_USE_BROTLI_IF_AVAILABLE OFF)
  set(HTTPLIB_USE_ZSTD_IF_AVAILABLE OFF)
  set(CATCH_INSTALL_DOCS OFF)
  set(CATCH_INSTALL_EXTRAS OFF)
  FetchContent_MakeAvailable(${name})
  # Its headers are not ours to warn about.
  get_target_property(real ${target} ALIASED_TARGET)
  if(NOT real)
    set(real ${target})
  endif()
  get_target_property(links ${real} INTERFACE_LINK_LIBRARIES)
  foreach(library ${real} ${links})
    if(TARGET ${library})
      get_target_property(alias ${library} ALIASED_TARGET)
      if(alias)
        set(library ${alias})
      endif()
      get_target_property(directories ${library} INTERFACE_INCLUDE_DIRECTORIES)
      if(directories)
        set_property(TARGET ${library} APPEND PROPERTY INTERFACE_SYSTEM_INCLUDE_DIRECTORIES ${directories})
      endif()
    endif()
  endforeach()
endfunction()

# Fatal when dtm itself is being built; a project that contains dtm may not need that part.
function(dtm_missing target package hint)
  set(text "dtm needs ${target}, which was not found: install it (Debian: apt install ${package}) ${hint}.")
  if(DTM_TOP_LEVEL OR target STREQUAL "nlohmann_json::nlohmann_json")
    message(FATAL_ERROR "${text}")
  endif()
  message(STATUS "${text} The targets that use it are not defined.")
endfunction()
