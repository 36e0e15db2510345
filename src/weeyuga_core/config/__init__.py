"""cells.yaml and prompts.yaml: every error at once with its place, the frozen prompts, the JSON Schema."""

from weeyuga_core.config.loader import Config, load
from weeyuga_core.config.problems import ConfigErrors, Problem
from weeyuga_core.config.prompts import frozen_prompts, load_prompts
from weeyuga_core.config.schema import json_schema

__all__ = ["Config", "ConfigErrors", "Problem", "frozen_prompts", "json_schema", "load", "load_prompts"]
