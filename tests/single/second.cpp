/// The single header in a second file of the same program: a forgotten `inline` does not link.
/// Needs: single_include (tools/amalgamate.py).
#include <dtm/dtm.hpp>

const char* VersionSeenBySecondFile();
const char* VersionSeenBySecondFile() { return dtm::kVersion; }
