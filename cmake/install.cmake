# Installs the headers, `find_package(dtm)` and pkg-config files, which do not depend on the architecture; and dtm-server.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(_dtm_cmake_dir ${CMAKE_INSTALL_DATADIR}/cmake/dtm)

install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/dtm DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.hpp")
# One export file for each library, so that a program that needs no HTTP does not look for it.
foreach(_dtm_name ${DTM_LIBRARIES})
  install(TARGETS dtm_${_dtm_name} EXPORT dtm-${_dtm_name} INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  install(EXPORT dtm-${_dtm_name} NAMESPACE dtm:: DESTINATION ${_dtm_cmake_dir} FILE dtm-${_dtm_name}-targets.cmake)
endforeach()
if(DTM_COMPILED)
  foreach(_dtm_name ${DTM_COMPILED_LIBRARIES})
    install(TARGETS dtm_${_dtm_name} EXPORT dtm-${_dtm_name} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
      INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/dtm-compiled)
    install(EXPORT dtm-${_dtm_name} NAMESPACE dtm:: DESTINATION ${_dtm_cmake_dir} FILE dtm-${_dtm_name}-targets.cmake)
  endforeach()
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/single_include/compiled/dtm DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/dtm-compiled)
endif()
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/dtm-config.cmake.in ${PROJECT_BINARY_DIR}/dtm-config.cmake
  INSTALL_DESTINATION ${_dtm_cmake_dir} NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/dtm-config-version.cmake
  COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${PROJECT_BINARY_DIR}/dtm-config.cmake ${PROJECT_BINARY_DIR}/dtm-config-version.cmake
  ${CMAKE_CURRENT_LIST_DIR}/FindDtmHttplib.cmake DESTINATION ${_dtm_cmake_dir})

# The same for pkg-config: dtm-core, dtm-client, dtm, dtm-http, dtm-tls, dtm-httplib, dtm-postgres, dtm-mysql, dtm-redis. Upstream's CMake package of cpp-httplib has no module
# of its own to ask for, so with that one there is nothing to write; a fetched one is installed beside our headers.
set(_dtm_pc_requires_core "nlohmann_json >= 3.10.5")
set(_dtm_pc_requires_dtm "dtm-core, sqlite3 >= 3.35")
set(_dtm_pc_requires_client "dtm-core")
set(_dtm_pc_requires_http "dtm, dtm-client")
set(_dtm_pc_requires_tls "dtm-client, openssl >= 1.1.1")
foreach(_dtm_name postgres mysql redis)  # the module that was found, libmariadb or mysqlclient
  set(_dtm_pc_requires_${_dtm_name} "dtm-core, ${dtm_${_dtm_name}_driver_MODULE_NAME}")
endforeach()
if(DtmHttplib_MODULE OR httplib_source STREQUAL "fetched")
  string(REGEX REPLACE ", $" "" _dtm_pc_requires_httplib "dtm-http, ${DtmHttplib_MODULE}")
endif()
set(_dtm_pc_dir ${CMAKE_INSTALL_FULL_DATADIR}/pkgconfig)
file(RELATIVE_PATH _dtm_pc_to_prefix ${_dtm_pc_dir} ${CMAKE_INSTALL_PREFIX})
file(RELATIVE_PATH _dtm_pc_to_include ${_dtm_pc_dir} ${CMAKE_INSTALL_FULL_INCLUDEDIR})
foreach(_dtm_name ${DTM_LIBRARIES})
  if(_dtm_pc_requires_${_dtm_name})
    set(_dtm_pc_module dtm-${_dtm_name})
    string(REPLACE dtm-dtm dtm _dtm_pc_module ${_dtm_pc_module})
    set(_dtm_pc_requires ${_dtm_pc_requires_${_dtm_name}})
    configure_file(${CMAKE_CURRENT_LIST_DIR}/dtm.pc.in ${PROJECT_BINARY_DIR}/${_dtm_pc_module}.pc @ONLY)
    install(FILES ${PROJECT_BINARY_DIR}/${_dtm_pc_module}.pc DESTINATION ${CMAKE_INSTALL_DATADIR}/pkgconfig)
  endif()
endforeach()

if(DTM_COMPILED)  # dtm-compiled; what uses HTTP takes CMake, since its libraries may have no module
  set(_dtm_pc_module dtm-compiled)
  set(_dtm_pc_requires "nlohmann_json >= 3.10.5, sqlite3 >= 3.35")
  file(RELATIVE_PATH _dtm_pc_to_lib ${_dtm_pc_dir} ${CMAKE_INSTALL_FULL_LIBDIR})
  set(_dtm_pc_to_include ${_dtm_pc_to_include}/dtm-compiled)
  set(_dtm_pc_libs "-L\${pcfiledir}/${_dtm_pc_to_lib} -ldtm_compiled")
  configure_file(${CMAKE_CURRENT_LIST_DIR}/dtm.pc.in ${PROJECT_BINARY_DIR}/dtm-compiled.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/dtm-compiled.pc DESTINATION ${CMAKE_INSTALL_DATADIR}/pkgconfig)
endif()

install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/licenses/dtm)
if(TARGET dtm-server)
  install(TARGETS dtm-server RUNTIME)
  file(RELATIVE_PATH _dtm_modules ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR}/dtm-server)
  set_target_properties(dtm-server PROPERTIES INSTALL_RPATH "$ORIGIN/${_dtm_modules}")
  foreach(module postgres mysql tls)
    if(TARGET dtm-server-${module})
      install(TARGETS dtm-server-${module} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/dtm-server)
    endif()
  endforeach()
endif()
if(TARGET dtm)
  install(TARGETS dtm RUNTIME OPTIONAL)  # as far as it was built
  install(FILES ${PROJECT_BINARY_DIR}/tool/dtm.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 OPTIONAL)
  install(FILES ${PROJECT_BINARY_DIR}/tool/dtm.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME dtm OPTIONAL)
  install(FILES ${PROJECT_BINARY_DIR}/tool/_dtm DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions OPTIONAL)
endif()
