{
  # `node-gyp rebuild`, and npm's implicit install, delegate to the build that CMakeLists.txt describes.
  "targets": [
    {
      "target_name": "gradcam",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake_js",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["<(PRODUCT_DIR)/delegated-to-cmake-js"],
          "action": ["node", "scripts/install.mjs"]
        }
      ]
    }
  ]
}
