"""An experiment's runs as one archive that can be handed on and checked."""
