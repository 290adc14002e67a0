/// Generated from include/dtm/httplib.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "http.hpp"
#include "http/httplib/branch_service.hpp"
#include "http/httplib/mount.hpp"

// ---- dtm/httplib.hpp ---------------------------------------------------------------------------

/// For programs with an httplib::Server of their own: the barrier and the answer of a branch service, and the HTTP API of a
/// coordinator beside other routes.
/// Needs: cpp-httplib. Threads: see the headers.
