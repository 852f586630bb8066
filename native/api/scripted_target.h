#pragma once

#include <memory>
#include <string>

namespace gradcam {

// A TorchScript module that maps the output of one image to a score.
class ScriptedTarget;

// Throws ERR_MODEL_NOT_FOUND, ERR_MODEL_LOAD.
std::shared_ptr<ScriptedTarget> loadScriptedTarget(const std::string& path);

}  // namespace gradcam
