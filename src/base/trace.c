// SPDX-License-Identifier: Apache-2.0
/* The hook of a debug build; without one this file is empty but for the types. */
#include "base/trace.h"

#if KL_DEBUG
_Atomic(kli_trace_fn *) kli_trace_hook;
#endif
