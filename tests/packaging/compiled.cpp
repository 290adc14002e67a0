/// The embedded coordinator, compiled once: what it includes declares, and it links the rest.
#include "embedded.cpp"
