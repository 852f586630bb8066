/** The LibTorch that this package is built and tested with. */
export const pinnedVersion = '2.13.0';

/** The torchvision whose operators fit it. */
export const torchvisionVersion = '0.28.0';

/** What an installed LibTorch may be, in words for messages. */
export const supportedRange = '2.13.x';

/** Whether an installed LibTorch is in the supported range. */
export function isSupported(version) {
  return /^2\.13\.\d+$/.test(version);
}

/** The official CPU archives, by `${platform}-${arch}`; size and checksum are of the file as it is served. */
export const officialArchives = {
  'linux-x64': {
    url: 'https://download.pytorch.org/libtorch/cpu/libtorch-shared-with-deps-2.13.0%2Bcpu.zip',
    sha256: 'edbf4cbed78433d803e90a65f1752e57783d164bce66c95c0872b2ab8f5c159e',
    bytes: 126_385_248,
  },
};
