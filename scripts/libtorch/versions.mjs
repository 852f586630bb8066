/** The LibTorch that is fetched where none is found. */
export const pinnedVersion = '2.13.0';

// Each release line of LibTorch that the addon can be built against: the torchvision whose operators fit it, and the
// version that all tests pass with, where all were run.
const releaseLines = {
  2.11: { torchvision: '0.26.0' },
  2.12: { tested: '2.12.1', torchvision: '0.27.1' },
  2.13: { tested: '2.13.0', torchvision: '0.28.0' },
  2.14: { torchvision: '0.29.0' },
  2.15: { torchvision: '0.29.2' },
};

const releaseLine = (version) => releaseLines[/^\d+\.\d+(?=\.\d+$)/.exec(version)?.[0]];

/** What an installed LibTorch may be, in words for messages: there is no gap between the release lines. */
export const supportedRange = [Object.keys(releaseLines).at(0), Object.keys(releaseLines).at(-1)]
  .map((line) => `${line}.x`)
  .join(' to ');

/** The versions that all tests pass with. */
export const testedVersions = Object.values(releaseLines).flatMap(({ tested }) => tested ?? []);

/** Whether an installed LibTorch is in the supported range. */
export function isSupported(version) {
  return releaseLine(version) !== undefined;
}

/** The torchvision whose operators fit a supported LibTorch. */
export function torchvisionFor(version) {
  return releaseLine(version).torchvision;
}

/** The official CPU archives, by `${platform}-${arch}`; size and checksum are of the file as it is served. */
export const officialArchives = {
  'linux-x64': {
    url: 'https://download.pytorch.org/libtorch/cpu/libtorch-shared-with-deps-2.13.0%2Bcpu.zip',
    sha256: 'edbf4cbed78433d803e90a65f1752e57783d164bce66c95c0872b2ab8f5c159e',
    bytes: 126_385_248,
  },
};
