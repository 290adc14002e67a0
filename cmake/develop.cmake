# What only those who work on dtm itself need: warnings, tests, examples, benchmarks.
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "" FORCE)
endif()
find_program(DTM_CCACHE ccache)
if(DTM_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${DTM_CCACHE})
endif()
set(CMAKE_CXX_STANDARD 17)  # what we promise; programs may use a later one
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)  # clang-tidy and tools/ take the flags from there

add_library(dtm_dev INTERFACE)
target_compile_options(dtm_dev INTERFACE -Wall -Wextra -Wconversion -Wshadow)
if(DTM_TESTS)  # who only builds dtm-server must not fail by a warning that a newer compiler invents
  target_compile_options(dtm_dev INTERFACE -Werror)
endif()
set(DTM_SANITIZED OFF)
if(CMAKE_CXX_FLAGS MATCHES "-fsanitize")
  set(DTM_SANITIZED ON)
endif()
# What programs link that use no more than <dtm/dtm.hpp>, <dtm/http.hpp> and <dtm/httplib.hpp>. With the tests it is the
# compiled form, since compiling everything in each of them takes half a minute each (of the header-only form the tests
# themselves, check/packaging, check/readme and check/run_quick_start are built).
set(DTM_WHOLE_HTTP dtm::http)
set(DTM_WHOLE dtm::httplib)
if(DTM_TESTS AND TARGET dtm::compiled_http AND httplib_available)
  set(DTM_WHOLE_HTTP dtm::compiled_http)
  set(DTM_WHOLE dtm::compiled_http httplib::httplib)
endif()
if(CMAKE_CXX_FLAGS MATCHES "-fsanitize=thread")
  add_library(dtm_tsan OBJECT ${PROJECT_SOURCE_DIR}/tests/tsan_exceptions.cpp)
  target_sources(dtm_dev INTERFACE $<TARGET_OBJECTS:dtm_tsan>)
endif()

enable_testing()
if(DTM_TESTS)
  add_subdirectory(tests)
endif()
if(DTM_EXAMPLES OR DTM_TESTS)
  add_subdirectory(examples)
endif()
# Nothing is measured under a sanitizer, and building it takes minutes.
if(DTM_EXAMPLES AND NOT DTM_SANITIZED)
  add_subdirectory(bench)
endif()
