export { arcc, coherency, complexity } from './arcc.js';
export { confidenceChange, dropInConfidence, increaseInConfidence } from './confidence.js';
export { type CurveOptions, deletionAuc, insertionAuc } from './curves.js';
export type { MetricOptions } from './perturbed-scores.js';
export { pointingGame } from './pointing-game.js';
export {
  type RoadAverageOptions,
  type RoadOptions,
  roadCombined,
  roadLeastRelevantFirst,
  roadLeastRelevantFirstAverage,
  roadMostRelevantFirst,
  roadMostRelevantFirstAverage,
} from './road.js';
