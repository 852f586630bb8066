// Prints LibTorch's folder, for CMakeLists.txt. Downloads nothing.
import { resolveLibTorch } from './libtorch/resolve.mjs';

try {
  const { root } = await resolveLibTorch({ fetchMissing: false });
  console.log(root);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
