# Finds cpp-httplib and defines httplib::httplib: an existing target, upstream's CMake package, or pkg-config.
# Debian ships it as a compiled library without a CMake package. Its class layout depends on the
# CPPHTTPLIB_*_SUPPORT macros it was built with, which only its pkg-config file names; a program
# that links it without them crashes. So there is no search by header here.
# Sets DtmHttplib_FOUND and, if it came from pkg-config, DtmHttplib_MODULE to its name there.
if(NOT TARGET httplib::httplib)
  find_package(httplib CONFIG QUIET)
endif()
if(NOT TARGET httplib::httplib)
  find_package(PkgConfig QUIET)
  foreach(_dtm_module cpp-httplib httplib)  # Debian renames it
    if(PkgConfig_FOUND AND NOT TARGET PkgConfig::DTM_HTTPLIB)
      pkg_check_modules(DTM_HTTPLIB QUIET IMPORTED_TARGET GLOBAL ${_dtm_module})
      if(DTM_HTTPLIB_FOUND)
        set(DtmHttplib_MODULE ${_dtm_module})
      endif()
    endif()
  endforeach()
  if(TARGET PkgConfig::DTM_HTTPLIB)
    find_package(Threads REQUIRED)
    add_library(httplib::httplib INTERFACE IMPORTED)
    target_link_libraries(httplib::httplib INTERFACE PkgConfig::DTM_HTTPLIB Threads::Threads)
  endif()
endif()

if(TARGET httplib::httplib)
  set(DtmHttplib_TARGET httplib::httplib)
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(DtmHttplib
  REQUIRED_VARS DtmHttplib_TARGET
  REASON_FAILURE_MESSAGE "cpp-httplib was found neither as a CMake package nor by pkg-config (Debian: apt install libcpp-httplib-dev pkg-config)")
