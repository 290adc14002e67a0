/// Builders, the embedded coordinator, barriers and SQLite: what most programs include. No HTTP; that is
/// <dtm/http.hpp>.
/// Needs: nlohmann/json, SQLite (-lsqlite3), threads (-pthread). Threads: see each class.
#pragma once

#include <dtm/barrier/barrier.hpp>
#include <dtm/barrier/sqlite_barrier.hpp>
#include <dtm/base/version.hpp>
#include <dtm/client/msg.hpp>
#include <dtm/client/saga.hpp>
#include <dtm/client/tcc.hpp>
#include <dtm/client/workflow.hpp>
#include <dtm/client/xa.hpp>
#include <dtm/coordinator/coordinator.hpp>
#include <dtm/observe/json_line.hpp>
#include <dtm/store/memory.hpp>
#include <dtm/store/sqlite/read_only_store.hpp>
#include <dtm/store/sqlite/sqlite_store.hpp>
#include <dtm/timeline/draw.hpp>
#include <dtm/timeline/export.hpp>
