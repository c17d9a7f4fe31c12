#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Usage: with-build.sh DIR COMMAND...
# Runs COMMAND with the environment that script tests get from meson: where the
# build is, and its plugin, command and tools.
set -euo pipefail
dir=$(cd "$1" && pwd)
shift
export KLOTSKI_BUILD=$dir
export KLOTSKI_PLUGIN=$dir/integrations/nbdkit-klotski-plugin.so
export KLOTSKI_CLI=$dir/cli/klotski
export NBDWORK=$dir/tools/nbdwork
exec "$@"
