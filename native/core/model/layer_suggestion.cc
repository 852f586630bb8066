#include "core/model/layer_suggestion.h"
#include "core/values/reshape_transform.h"

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>
#include <numeric>
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
  if (rank > 3 && shape.size() == 3) return shape[1] > 1 ? Form::Tokens : Form::Other;
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

// What is known of an attention by the calls inside it, whatever it gives itself.
struct Attention {
  bool dependsOnInput = false;
  std::set<int64_t> tokens;  // how many there are on its axes of tokens
};

std::map<std::string, Attention> attentionsOf(const std::vector<FinishedCall>& calls) {
  std::map<std::string, Attention> attentions;
  for (const FinishedCall& call : calls) {
    if (isAttention(call)) attentions[call.path];
  }
  for (auto& [path, attention] : attentions) {
    for (const FinishedCall& call : calls) {
      if (call.path == path) attention.dependsOnInput = attention.dependsOnInput || call.dependsOnInput;
      if ((call.path == path || isInside(call.path, path)) && call.shape.size() == 3)
        attention.tokens.insert(call.shape[1]);
    }
  }
  return attentions;
}

// The calls that tell of the image, outside of any attention, and the attentions themselves: what is inside
// has forms of its own, such as [images, heads, queries, keys].
//
// A decoder such as DETR's begins with queries of the model's own, which attend to one another before they
// see the image. From then on as many tokens are those queries, and no places.
std::vector<FinishedCall> callsOnImage(const std::vector<FinishedCall>& calls) {
  const auto attentions = attentionsOf(calls);
  std::set<int64_t> queries;
  for (const auto& [path, attention] : attentions) {
    if (!attention.dependsOnInput) queries.insert(attention.tokens.begin(), attention.tokens.end());
  }
  const auto isOfQueries = [&](const FinishedCall& call) {
    if (call.shape.size() == 3 && queries.count(call.shape[1]) > 0) return true;
    const auto attention = attentions.find(call.path);
    return attention != attentions.end() &&
           std::any_of(attention->second.tokens.begin(), attention->second.tokens.end(),
                       [&](int64_t tokens) { return queries.count(tokens) > 0; });
  };
  std::vector<FinishedCall> outside;
  for (const FinishedCall& call : calls) {
    const bool inside = std::any_of(attentions.begin(), attentions.end(), [&](const auto& attention) {
      return isInside(call.path, attention.first);
    });
    if (call.dependsOnInput && !inside && !isOfQueries(call)) outside.push_back(call);
  }
  return outside;
}

LayerSuggestion notKnown(const std::string& reason) {
  return {"", reason, {}};
}

int64_t product(const std::vector<int64_t>& sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), int64_t{1}, std::multiplies<>());
}

// How tokens lie. They come of a map, which may tell: the last one before `layer` that has as many places,
// but for the tokens before the image's. Else, of a picture, its shape does.
std::optional<ReshapeTransform> gridOf(const FinishedCall& layer,
                                       const std::vector<FinishedCall>& calls,
                                       const std::vector<int64_t>& inputShape) {
  const int64_t tokens = layer.shape[1];
  ReshapeTransform reshape;
  reshape.kind = ReshapeTransform::Kind::Tokens;
  std::vector<int64_t> inferred;
  if (inputShape.size() == 4) inferred = inferGrid(tokens, std::nullopt, {inputShape[2], inputShape[3]});
  // More tokens before the image's than are ever guessed are believed where a map tells of them.
  int64_t places = tokens - std::max(mostPrefixTokens, tokens / 4);
  for (const FinishedCall& call : calls) {
    if (call.path == layer.path) break;
    if (formOf(call, inputShape) != Form::Map) continue;
    const std::vector<int64_t> grid(call.shape.begin() + 2, call.shape.end());
    const int64_t ofMap = product(grid);
    if (ofMap > tokens || ofMap < places) continue;
    places = ofMap;
    reshape.grid = grid;
  }
  if (reshape.grid.empty()) reshape.grid = inferred;
  if (reshape.grid.empty()) return std::nullopt;
  reshape.prefixTokens = tokens - product(reshape.grid);
  if (reshape.grid == inferred)
    reshape.grid.clear();  // it will be found again, for images of other sizes too
  return reshape;
}

// Where no attention is known. The last tokens will do where all of them are places: what follows can only be
// something that joins them. A token before them may be all that counts there.
LayerSuggestion suggestWithoutAttention(const std::vector<FinishedCall>& calls,
                                        const std::vector<int64_t>& inputShape) {
  const auto givesPlaces = [&](const FinishedCall& call) {
    const Form form = formOf(call, inputShape);
    return form == Form::ChannelsLast || (form == Form::Tokens && call.channelsLast.value_or(false));
  };
  auto last = std::find_if(calls.rbegin(), calls.rend(), givesPlaces);
  // A linear layer inside a block that gives no tensor itself may be a step on the side, such as the values
  // of an attention that is written out; the norm in front of it is not.
  if (last != calls.rend() && last->type == "Linear" && last->path.find('.') != std::string::npos) {
    const auto norm = std::find_if(last, calls.rend(), [&](const FinishedCall& call) {
      return givesPlaces(call) && call.type.find("Norm") != std::string::npos;
    });
    if (norm != calls.rend()) last = norm;
  }
  if (last != calls.rend() && inputShape.size() >= 4) {
    LayerSuggestion suggestion{
        last->path, "the last layer that gives places and channels, " + describe(last->shape), {}};
    if (formOf(*last, inputShape) == Form::ChannelsLast) {
      suggestion.reshape.kind = ReshapeTransform::Kind::ChannelsLast;
      return suggestion;
    }
    const auto reshape = gridOf(*last, calls, inputShape);
    if (reshape && reshape->prefixTokens == 0) {
      suggestion.reshape = *reshape;
      return suggestion;
    }
  }
  return notKnown(
      "most layers give tokens, not maps (a vision transformer?), and there is no layer before a last "
      "attention; name a layer with targetLayers, and give a reshapeTransform");
}

// Behind the last attention only the class token counts, so the layer before it is the last that tells all
// places apart.
LayerSuggestion suggestOfTransformer(const std::vector<FinishedCall>& calls,
                                     const std::vector<int64_t>& inputShape) {
  const auto attention = std::find_if(calls.rbegin(), calls.rend(), isAttention);
  if (attention == calls.rend()) return suggestWithoutAttention(calls, inputShape);
  const auto layer = std::find_if(attention + 1, calls.rend(), [&](const FinishedCall& call) {
    const Form form = formOf(call, inputShape);
    return form == Form::Tokens || form == Form::ChannelsLast;
  });
  if (layer == calls.rend()) {
    return notKnown("no layer before the last attention, '" + attention->path +
                    "', gives tokens; name a layer with targetLayers, and give a reshapeTransform");
  }
  const std::string named = "'" + layer->path + "', the layer before the last attention, gives ";
  LayerSuggestion suggestion{
      layer->path, "the layer before the last attention, " + describe(layer->shape), {}};
  if (formOf(*layer, inputShape) == Form::ChannelsLast) {
    if (inputShape.size() == 3 && inputShape[2] % layer->shape[1] != 0) {
      return notKnown(named + describe(layer->shape) + ", whose places are no part of an input of shape " +
                      describe(inputShape) +
                      "; name it with targetLayers, and give a reshapeTransform with prefixTokens and grid");
    }
    suggestion.reshape.kind = ReshapeTransform::Kind::ChannelsLast;
    return suggestion;
  }
  const auto reshape = gridOf(*layer, calls, inputShape);
  if (!reshape) {
    return notKnown(named + std::to_string(layer->shape[1]) +
                    " tokens, which are no grid of the image's shape; name it with targetLayers, and give a "
                    "reshapeTransform with prefixTokens and grid");
  }
  suggestion.reshape = *reshape;
  return suggestion;
}

// Whether the places of the last map go on behind it, their channels last: the map was no more than a step,
// such as a convolution over a transformer's tokens.
bool placesGoOn(const std::vector<FinishedCall>& calls,
                std::size_t lastMap,
                const std::vector<int64_t>& inputShape) {
  int64_t places = 0;
  if (lastMap < calls.size())
    places = product({calls[lastMap].shape.begin() + 2, calls[lastMap].shape.end()});
  for (std::size_t index = lastMap + 1; index < calls.size(); ++index) {
    const FinishedCall& call = calls[index];
    const Form form = formOf(call, inputShape);
    if (form == Form::ChannelsLast) return true;
    if (form != Form::Tokens || !call.channelsLast.value_or(false)) continue;
    if (call.shape[1] >= places && call.shape[1] <= places + mostPrefixTokens) return true;
  }
  return false;
}

}  // namespace

LayerSuggestion suggestLayer(const std::vector<FinishedCall>& allCalls,
                             const std::vector<int64_t>& inputShape,
                             const std::vector<int64_t>& outputShape) {
  const std::size_t rank = inputShape.size();
  const std::vector<FinishedCall> calls = callsOnImage(allCalls);
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
  if (!denseOutput && placesGoOn(calls, chosen, inputShape)) {
    const LayerSuggestion suggestion = suggestOfTransformer(calls, inputShape);
    if (!suggestion.path.empty() || chosen == calls.size()) return suggestion;
  }
  if (chosen == calls.size()) {
    return notKnown("no layer gives a map with " + std::to_string(rank >= 2 ? rank - 2 : 0) +
                    " spatial axes for an input of shape " + describe(inputShape) +
                    "; name one with targetLayers");
  }
  return {calls[chosen].path,
          (denseOutput ? "the last of the widest layers with a spatial map, "
                       : "the last layer that gives a spatial map, ") +
              describe(calls[chosen].shape),
          {}};
}

}  // namespace gradcam
