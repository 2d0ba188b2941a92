"""The modules whose jobs the helper processes of a Builder run: loaded once, before any fork."""

INNER = (
    "asynckaniko.isolation.probe",
    "asynckaniko.isolation.rehearsal",
    "asynckaniko.isolation.step",
    "asynckaniko.rootfs.apply_layer",
    "asynckaniko.rootfs.copy_tree",
    "asynckaniko.rootfs.destination",
    "asynckaniko.rootfs.directories",
    "asynckaniko.rootfs.implicit",
    "asynckaniko.rootfs.pack_layer",
    "asynckaniko.rootfs.remove",
    "asynckaniko.rootfs.step_owners",
    "asynckaniko.rootfs.usage",
    "asynckaniko.rootfs.workdir",
)
OUTER = (
    "asynckaniko.isolation.plain_step",
    "asynckaniko.isolation.swap_recovery",
    "asynckaniko.rootfs.apply_layer",
    "asynckaniko.rootfs.context_files",
    "asynckaniko.rootfs.copy_tree",
    "asynckaniko.rootfs.destination",
    "asynckaniko.rootfs.directories",
    "asynckaniko.rootfs.listed.jobs",
    "asynckaniko.rootfs.merge_layers",
    "asynckaniko.rootfs.plain.preserved",
    "asynckaniko.rootfs.plain.root",
    "asynckaniko.rootfs.plain.snapshot",
    "asynckaniko.rootfs.recompress",
    "asynckaniko.rootfs.remove",
    "asynckaniko.rootfs.unpack_context",
)
