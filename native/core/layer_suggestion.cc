#include "core/layer_suggestion.h"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <set>

namespace gradcam {
namespace {

// What a layer gives, for a batch of images.
enum class Form { Map, ChannelsLast, Tokens, Other };

std::string describe(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t size : shape) text += (text.empty() ? "[" : ", ") + std::to_string(size);
  return text + "]";
}

// Whether height x width is the image made smaller by one factor, up to rounding.
bool hasShapeOfImage(int64_t height, int64_t width, const std::vector<int64_t>& inputShape) {
  if (height > inputShape[2] || width > inputShape[3]) return false;
  const int64_t rounding = std::max(inputShape[2], inputShape[3]);
  return std::llabs(height * inputShape[3] - width * inputShape[2]) < 2 * rounding;
}

Form formOf(const FinishedCall& call, const std::vector<int64_t>& inputShape) {
  const std::vector<int64_t>& shape = call.shape;
  const std::size_t rank = inputShape.size();
  if (rank < 3 || shape.size() < 3 || shape[0] != inputShape[0]) return Form::Other;
  if (rank == 4 && shape.size() == 3) return shape[1] > 1 ? Form::Tokens : Form::Other;
  if (shape.size() != rank) return Form::Other;
  if (call.channelsLast.value_or(false)) {
    const bool places =
        std::any_of(shape.begin() + 1, shape.end() - 1, [](int64_t size) { return size > 1; });
    return places ? Form::ChannelsLast : Form::Other;
  }
  if (!call.channelsLast && rank == 4 && shape[1] * shape[2] > 1 &&
      hasShapeOfImage(shape[1], shape[2], inputShape) && !hasShapeOfImage(shape[2], shape[3], inputShape)) {
    return Form::ChannelsLast;
  }
  const bool spread = std::any_of(shape.begin() + 2, shape.end(), [](int64_t size) { return size > 1; });
  return spread ? Form::Map : Form::Other;
}

bool isAttention(const FinishedCall& call) {
  static const std::set<std::string> names = {"attn", "self_attn", "attention", "self_attention"};
  return call.type.find("Attention") != std::string::npos ||
         names.count(call.path.substr(call.path.find_last_of('.') + 1)) > 0;
}

bool isInside(const std::string& path, const std::string& parent) {
  return path.size() > parent.size() && path.compare(0, parent.size() + 1, parent + ".") == 0;
}

// The calls that end outside of any attention, and the attentions themselves: what is inside has forms of its
// own, such as [images, heads, queries, keys].
std::vector<FinishedCall> outsideAttention(const std::vector<FinishedCall>& calls) {
  std::set<std::string> attentions;
  for (const FinishedCall& call : calls) {
    if (isAttention(call)) attentions.insert(call.path);
  }
  std::vector<FinishedCall> outside;
  for (const FinishedCall& call : calls) {
    const bool inside = std::any_of(attentions.begin(), attentions.end(), [&](const std::string& attention) {
      return isInside(call.path, attention);
    });
    if (!inside) outside.push_back(call);
  }
  return outside;
}

// The map that was cut into tokens, the last one that has no more places than there are tokens, and most of
// them: with many tokens before the image's, a larger grid would fit, too.
std::vector<int64_t> gridOfPatches(const std::vector<FinishedCall>& calls,
                                   int64_t tokens,
                                   const std::vector<int64_t>& inputShape) {
  std::vector<int64_t> grid;
  for (const FinishedCall& call : calls) {
    if (call.shape.size() != 4 || formOf(call, inputShape) != Form::Map) continue;
    const std::vector<int64_t> patches = {call.shape[2], call.shape[3]};
    const int64_t prefix = tokens - patches[0] * patches[1];
    const bool isMost = prefix >= 0 && prefix * 2 < tokens;
    if (isMost && inferGrid(tokens, prefix, {inputShape[2], inputShape[3]}) == patches) grid = patches;
  }
  return grid;
}

// Behind the last attention only the class token counts, so the layer before it is the last that tells all
// places apart.
LayerSuggestion suggestOfTransformer(const std::vector<FinishedCall>& calls,
                                     const std::vector<int64_t>& inputShape) {
  const auto attention = std::find_if(calls.rbegin(), calls.rend(), isAttention);
  if (attention == calls.rend() && inputShape.size() == 4) {
    const auto last = std::find_if(calls.rbegin(), calls.rend(), [&](const FinishedCall& call) {
      return formOf(call, inputShape) == Form::ChannelsLast;
    });
    if (last != calls.rend()) {
      LayerSuggestion suggestion{
          last->path, "the last layer that gives places and channels, " + describe(last->shape), {}};
      suggestion.reshape.kind = ReshapeTransform::Kind::ChannelsLast;
      return suggestion;
    }
  }
  const auto layer = attention == calls.rend()
                         ? calls.rend()
                         : std::find_if(attention + 1, calls.rend(), [&](const FinishedCall& call) {
                             const Form form = formOf(call, inputShape);
                             return form == Form::Tokens || form == Form::ChannelsLast;
                           });
  if (layer == calls.rend()) {
    return {"",
            "most layers give tokens, not maps (a vision transformer?), and there is no layer before a last "
            "attention; name a layer with targetLayers, and give a reshapeTransform",
            {}};
  }
  LayerSuggestion suggestion{
      layer->path, "the layer before the last attention, " + describe(layer->shape), {}};
  if (formOf(*layer, inputShape) == Form::ChannelsLast) {
    if (inputShape.size() == 3 && inputShape[2] % layer->shape[1] != 0) {
      return {"",
              "'" + layer->path + "', the layer before the last attention, gives " + describe(layer->shape) +
                  ", whose places are no part of an input of shape " + describe(inputShape) +
                  "; name it with targetLayers, and give a reshapeTransform with prefixTokens and grid",
              {}};
    }
    suggestion.reshape.kind = ReshapeTransform::Kind::ChannelsLast;
    return suggestion;
  }
  const int64_t tokens = layer->shape[1];
  auto grid = gridOfPatches(calls, tokens, inputShape);
  if (grid.empty()) grid = inferGrid(tokens, std::nullopt, {inputShape[2], inputShape[3]});
  if (grid.empty()) {
    return {"",
            "'" + layer->path + "', the layer before the last attention, gives " + std::to_string(tokens) +
                " tokens, which are no grid of the image's shape; name it with targetLayers, and give a "
                "reshapeTransform with prefixTokens and grid",
            {}};
  }
  suggestion.reshape.kind = ReshapeTransform::Kind::Tokens;
  suggestion.reshape.prefixTokens = tokens - grid[0] * grid[1];
  return suggestion;
}

}  // namespace

LayerSuggestion suggestLayer(const std::vector<FinishedCall>& allCalls,
                             const std::vector<int64_t>& inputShape,
                             const std::vector<int64_t>& outputShape) {
  const std::size_t rank = inputShape.size();
  const std::vector<FinishedCall> calls = outsideAttention(allCalls);
  if (outputShape.empty()) {
    const auto isPyramid = [&](const FinishedCall& call) {
      return call.levels.size() > 1 &&
             std::all_of(call.levels.begin(), call.levels.end(), [&](const std::vector<int64_t>& shape) {
               return shape.size() == rank && rank >= 3 && shape[0] == inputShape[0];
             });
    };
    const auto pyramid = std::find_if(calls.rbegin(), calls.rend(), isPyramid);
    if (pyramid != calls.rend()) return {pyramid->path, "the last layer that gives a feature pyramid", {}};
  }

  // A model whose output is itself a map narrows it to one channel per class: there the widest layer is the
  // last that holds features.
  const bool denseOutput = outputShape.size() == rank && rank >= 3;
  std::size_t chosen = calls.size();
  std::size_t transformerCalls = 0;  // behind the chosen one
  for (std::size_t index = 0; index < calls.size(); ++index) {
    const Form form = formOf(calls[index], inputShape);
    if (form == Form::Tokens || form == Form::ChannelsLast) ++transformerCalls;
    if (form != Form::Map) continue;
    if (chosen == calls.size() || !denseOutput || calls[index].shape[1] >= calls[chosen].shape[1]) {
      chosen = index;
      transformerCalls = 0;
    }
  }
  // A transformer cuts the image into tokens early on: its only maps are those before the first block.
  if (transformerCalls * 2 > calls.size()) return suggestOfTransformer(calls, inputShape);
  if (chosen == calls.size()) {
    return {"",
            "no layer gives a map with " + std::to_string(rank >= 2 ? rank - 2 : 0) +
                " spatial axes for an input of shape " + describe(inputShape) +
                "; name one with targetLayers",
            {}};
  }
  return {calls[chosen].path,
          (denseOutput ? "the last of the widest layers with a spatial map, "
                       : "the last layer that gives a spatial map, ") +
              describe(calls[chosen].shape),
          {}};
}

}  // namespace gradcam
