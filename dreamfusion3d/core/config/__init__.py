"""Settings of a run: the schema, the presets, and how values are set."""

from dreamfusion3d.core.config.resolve import (
    MAX_CONFIG_BYTES as MAX_CONFIG_BYTES,
    check_choice as check_choice,
    check_config as check_config,
    config_from_dict as config_from_dict,
    config_to_dict as config_to_dict,
    did_you_mean as did_you_mean,
    guidance_names as guidance_names,
    override_config as override_config,
    resolve_config as resolve_config,
    setting_types as setting_types,
)
from dreamfusion3d.core.config.schema import (
    BUILTIN_GUIDANCES as BUILTIN_GUIDANCES,
    GUIDANCE_GROUP as GUIDANCE_GROUP,
    QUALITIES as QUALITIES,
    QUALITY_PRESETS as QUALITY_PRESETS,
    RECONSTRUCTION_QUALITY_PRESETS as RECONSTRUCTION_QUALITY_PRESETS,
    Config as Config,
    FieldConfig as FieldConfig,
    FormatName as FormatName,
    GuidanceConfig as GuidanceConfig,
    LossConfig as LossConfig,
    MeshConfig as MeshConfig,
    OptimConfig as OptimConfig,
    PriorConfig as PriorConfig,
    PromptConfig as PromptConfig,
    ReconstructionConfig as ReconstructionConfig,
    RenderConfig as RenderConfig,
    TextureConfig as TextureConfig,
)
