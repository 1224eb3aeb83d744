# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Everything that exists only so that the same stack runs on a machine without an accelerator.

`activate()` is called by the verl plugin in every process when `VERL_PLATFORM=cpu` asks for it; nothing in this
package is imported on an accelerator machine.
"""


def activate() -> None:
    """Register the CPU platform with verl and install the patches it needs."""
    from recipe.htpo.cpu import distribution, megatron, patches, platform

    platform.register()
    distribution.register()
    patches.install_verl_patches()
    megatron.install()
