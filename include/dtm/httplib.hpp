/// For programs with an httplib::Server of their own: the barrier and the answer of a branch service, and the HTTP API of a
/// coordinator beside other routes.
/// Needs: cpp-httplib. Threads: see the headers.
#pragma once

#include <dtm/http/httplib/branch_service.hpp>
#include <dtm/http/httplib/mount.hpp>
