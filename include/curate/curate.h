#pragma once

/// All of cuRate's library.
///
/// Threads: any number of threads may use one object through its const members and through functions that take it as
/// const. What changes an object needs it for itself. A Predictor and a Model are made to be shared.
///
/// Errors: functions throw what their headers name: InputError for what the caller can put right, DeviceError for a
/// device that fails, Error for the rest, all of them std::runtime_error; std::invalid_argument and std::out_of_range
/// for a mistake in the calling program; std::bad_alloc if memory runs out. An object that a const member has left by
/// an exception is as it was before.
///
/// ABI: the library's file name carries the major and the minor version. All releases of one minor version fit
/// programs that were built against any of them. The next minor version may change members, enumerators and signatures:
/// build anew then. What headers do not declare is not exported. Pass objects only between code that uses one C++
/// standard library.

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
#include "curate/predictor.h"
#include "curate/trainer.h"
#include "curate/version.h"
