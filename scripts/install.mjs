// npm's install script, and what binding.gyp delegates to: finds or fetches LibTorch and builds the native addon.
import { buildAddon } from './addon.mjs';

if (process.env.GRADCAM_SKIP_BUILD === '1') {
  console.error('node-gradcam: GRADCAM_SKIP_BUILD=1, the native addon is not built.');
} else {
  try {
    await buildAddon((line) => console.error(`node-gradcam: ${line}`));
  } catch (error) {
    console.error(`node-gradcam: ${error.message}`);
    process.exitCode = 1;
  }
}
