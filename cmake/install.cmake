# Installs the headers, `find_package(dtm)` and a pkg-config file. Nothing here depends on the architecture.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(_dtm_cmake_dir ${CMAKE_INSTALL_DATADIR}/cmake/dtm)

install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/dtm DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.hpp")
# One export file for each library, so that a program that needs no HTTP does not look for it.
foreach(_dtm_name ${DTM_LIBRARIES})
  install(TARGETS dtm_${_dtm_name} EXPORT dtm-${_dtm_name})
  install(EXPORT dtm-${_dtm_name} NAMESPACE dtm:: DESTINATION ${_dtm_cmake_dir} FILE dtm-${_dtm_name}-targets.cmake)
endforeach()
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/dtm-config.cmake.in ${PROJECT_BINARY_DIR}/dtm-config.cmake
  INSTALL_DESTINATION ${_dtm_cmake_dir} NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/dtm-config-version.cmake
  COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${PROJECT_BINARY_DIR}/dtm-config.cmake ${PROJECT_BINARY_DIR}/dtm-config-version.cmake
  ${CMAKE_CURRENT_LIST_DIR}/FindDtmHttplib.cmake DESTINATION ${_dtm_cmake_dir})
configure_file(${CMAKE_CURRENT_LIST_DIR}/dtm.pc.in ${PROJECT_BINARY_DIR}/dtm.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/dtm.pc DESTINATION ${CMAKE_INSTALL_DATADIR}/pkgconfig)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/licenses/dtm)
