#pragma once

namespace gradcam {

// How maps of a layer's size become those of the input's size.
enum class Upsampling {
  None,    // they stay as they are
  Linear,  // along one, two or three axes
  Cubic,   // images only
};

}  // namespace gradcam
