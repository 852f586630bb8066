import { InputAttribution } from './attribution.js';

const defaults = { rule: 'gausslegendre', steps: 1, batchSize: 1, baseline: 0 } as const;

/**
 * The gradient of the score with respect to the input, signed (take its magnitude for a picture).
 * K. Simonyan et al., "Deep Inside Convolutional Networks", 2013.
 */
export class Saliency extends InputAttribution {
  protected override readonly request = { kind: 'saliency', ...defaults } as const;
}

/**
 * The same with ReLUs that pass a gradient only where it and their input are positive: fine, sharp edges, though less
 * faithful to the class. ReLUs are replaced in a copy of the model's graph, as layers and as functions.
 * J. T. Springenberg et al., "Striving for Simplicity", 2015.
 */
export class GuidedBackprop extends InputAttribution {
  protected override readonly request = { kind: 'guided-backprop', ...defaults } as const;
}
