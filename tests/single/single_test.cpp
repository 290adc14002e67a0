/// A program made from single_include/dtm/dtm.hpp alone: nlohmann, -lsqlite3 and -pthread are all
/// it needs. Needs: single_include (tools/amalgamate.py).
#include <string>

#include <dtm/dtm.hpp>

const char* VersionSeenBySecondFile();

int main() { return std::string(dtm::kVersion) == VersionSeenBySecondFile() ? 0 : 1; }
