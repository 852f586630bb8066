// Where does a photo show what a text says? With a CLIP, such as OpenAI's RN50.pt as it is. The default is a tiny one with
// random weights: it shows how, not where.
// Run with: node dist/examples/clip-by-text.js [RN50.pt] [photo.jpg] [picture.png] ["the cat" "the sofa" ...]
import { ClipExplainer, loadImage, loadModel, showAttentionMap, sideBySide } from 'node-gradcam';

const [
  modelPath = 'test/fixtures/clip/resnet.pt',
  photo = 'examples/photos/chelsea.png',
  output = 'output/clip-by-text.png',
  ...texts
] = process.argv.slice(2);
if (texts.length === 0) texts.push('the cat', 'the sofa');

await using model = await loadModel(modelPath);
const clip = new ClipExplainer({ model });
const image = await loadImage(photo, clip.imageOptions);

// The image encoder runs once for all texts.
using explanation = await clip.explain(image.tensor, texts);
const panels = texts.map((text, index) => ({
  picture: showAttentionMap(image, explanation.heatmaps.at(index), { blur: true }),
  caption: `${text} (${explanation.similarities[0]?.[index]?.toFixed(3)})`,
}));
await (await sideBySide([{ picture: image, caption: 'the photo' }, ...panels])).toFile(output);
console.log(`${output}: ${panels.map(({ caption }) => caption).join(', ')}`);
