// Prints LibTorch's folder, for CMakeLists.txt. Downloads nothing, unless called with --fetch.
import { resolveLibTorch } from './libtorch/resolve.mjs';

try {
  const fetchMissing = process.argv.includes('--fetch');
  const { root } = await resolveLibTorch({ fetchMissing, log: (line) => console.error(line) });
  console.log(root);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
