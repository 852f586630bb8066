/** The LibTorch that this package is built and tested with. */
export const pinnedVersion = '2.13.0';

/** Whether an installed LibTorch is in the tested range: any 2.13. */
export function isSupported(version) {
  return /^2\.13\./.test(version);
}

/** The official CPU archives, by `${platform}-${arch}`; the checksum is of the file as it is served. */
export const officialArchives = {
  'linux-x64': {
    url: 'https://download.pytorch.org/libtorch/cpu/libtorch-shared-with-deps-2.13.0%2Bcpu.zip',
    sha256: 'edbf4cbed78433d803e90a65f1752e57783d164bce66c95c0872b2ab8f5c159e',
  },
};
