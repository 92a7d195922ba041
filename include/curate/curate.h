#pragma once

/// All of cuRate's library.

#include "curate/dataset.h"
#include "curate/error.h"
#include "curate/export.h"
#include "curate/metrics.h"
#include "curate/model.h"
#include "curate/options.h"
#include "curate/trainer.h"
#include "curate/version.h"
