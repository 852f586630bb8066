// A library with nothing in it. torchvision's library says that it needs libtorch_python and libtorch, but
// uses nothing of them; the real libtorch_python needs a running Python. See
// native/core/script/operator_libraries.cc.
