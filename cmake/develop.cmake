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
# What our own programs link, DTM_WHOLE_HTTP, and what includes <dtm/httplib.hpp> too, DTM_WHOLE. With the tests these are
# the same headers with declarations only, and the rest compiled once: compiling everything in each of them takes most of
# an hour. Of the header-only form check/headers, check/packaging, check/run_quick_start and the objects odr are built.
set(DTM_WHOLE_HTTP dtm::http)
set(DTM_WHOLE dtm::httplib)
if(DTM_TESTS)
  find_package(Python3 COMPONENTS Interpreter REQUIRED)
  set(split ${PROJECT_BINARY_DIR}/split)
  set(split_include ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tools/split_include.py)
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/include/*.hpp)
  list(TRANSFORM headers REPLACE ${PROJECT_SOURCE_DIR}/include ${split} OUTPUT_VARIABLE split_headers)
  set(split_sources ${split}/dtm.cpp ${split}/http.cpp ${split}/testing.cpp)
  add_custom_command(OUTPUT ${split}/written BYPRODUCTS ${split_headers} ${split_sources}
    COMMENT "Splitting the headers into declarations and definitions"
    COMMAND ${split_include} ${split}
    COMMAND ${CMAKE_COMMAND} -E touch ${split}/written
    DEPENDS ${headers} ${PROJECT_SOURCE_DIR}/tools/split_include.py ${PROJECT_SOURCE_DIR}/tools/split_header.py)
  add_library(dtm_split STATIC ${split}/written ${split_sources})
  set_target_properties(dtm_split PROPERTIES UNITY_BUILD OFF)
  target_include_directories(dtm_split PUBLIC ${split})
  target_link_libraries(dtm_split PUBLIC nlohmann_json::nlohmann_json Threads::Threads ${DTM_SQLITE})
  # The tests wait for it, while optimising themselves takes longer than they run. Not for the debugger (preset dev).
  if(CMAKE_UNITY_BUILD)
    target_compile_options(dtm_split PRIVATE -O1)
  endif()
  set(DTM_WHOLE_HTTP dtm_split)
  set(DTM_WHOLE dtm_split httplib::httplib)
endif()
if(CMAKE_CXX_FLAGS MATCHES "-fsanitize=thread")
  add_library(dtm_tsan OBJECT ${PROJECT_SOURCE_DIR}/tests/tsan_exceptions.cpp)
  set_target_properties(dtm_tsan PROPERTIES POSITION_INDEPENDENT_CODE ON)  # the modules of dtm-server have it too
  target_sources(dtm_dev INTERFACE $<TARGET_OBJECTS:dtm_tsan>)
endif()

enable_testing()
if(DTM_TESTS)
  add_subdirectory(tests)
endif()
if(DTM_EXAMPLES OR DTM_TESTS)
  add_subdirectory(examples)
  add_subdirectory(tool)
endif()
# Nothing is measured under a sanitizer, and building it takes minutes.
if(DTM_EXAMPLES AND NOT DTM_SANITIZED)
  add_subdirectory(bench)
endif()
