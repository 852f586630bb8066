#pragma once

#include <string>

namespace gradcam {

struct LayerInfo {
  std::string path;  // dotted attribute path from the root, "layer4.2.conv3"
  std::string type;  // class name, "Conv2d"
  int depth;         // 0 for children of the root
};

}  // namespace gradcam
