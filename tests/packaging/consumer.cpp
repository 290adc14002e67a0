/// The smallest program that uses dtm.
#include <dtm/dtm.hpp>

int main() { return dtm::kVersion[0] == '0' ? 0 : 1; }
