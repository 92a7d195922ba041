#pragma once

/// All of cuRate's library.

#include "curate/column.h"
#include "curate/dataset.h"
#include "curate/error.h"
#include "curate/export.h"
#include "curate/feature.h"
#include "curate/id_map.h"
#include "curate/kinds.h"
#include "curate/metrics.h"
#include "curate/model.h"
#include "curate/option_table.h"
#include "curate/options.h"
#include "curate/trainer.h"
#include "curate/version.h"
