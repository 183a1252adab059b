import Formats
import OrderedCollections

/// What rules may ask about a model as a whole, known from its index alone.
struct ModelOutline {
  /// Whether rules for convolutional models hold.
  private let isConvolutional: Bool
  private let names: Set<String>
  /// Input channels of convolutions and columns of linear weights.
  private let inputCounts: Set<Int>

  init(_ archive: TensorArchive, recipe: Recipe) {
    let weights = archive.tensors.filter { name, tensor in
      tensor.shape.matrix != nil && recipe.role(name, tensor) != .buffer
    }
    names = Set(archive.tensors.keys)
    inputCounts = Set(weights.values.map { $0.shape.dimensions[1] })
    let undecided = ModelOutline(names: names, inputCounts: inputCounts, isConvolutional: true)
    isConvolutional = undecided.areConvolutionsMost(of: weights, recipe)
  }

  private init(names: Set<String>, inputCounts: Set<Int>, isConvolutional: Bool) {
    self.names = names
    self.inputCounts = inputCounts
    self.isConvolutional = isConvolutional
  }

  func subject(_ name: String, _ tensor: Tensor) -> RecipeSubject {
    RecipeSubject(
      name: name, elementType: tensor.elementType, shape: tensor.shape,
      hasBias: Self.biasName(ofWeight: name).map(names.contains) ?? false,
      makesPixels: makesPixels(tensor.shape), isInConvolutionalModel: isConvolutional)
  }

  /// Whether rules for convolutional models, if they held, would quantize more elements than others.
  private func areConvolutionsMost(
    of weights: OrderedDictionary<String, Tensor>, _ recipe: Recipe
  ) -> Bool {
    guard recipe.rules.contains(where: { $0.condition.model != nil }) else { return false }
    var (inside, outside) = (0.0, 0.0)
    for (name, tensor) in weights {
      let subject = subject(name, tensor)
      guard let rule = recipe.rules.first(where: { $0.matches(subject) }), rule.action != .keep
      else { continue }
      if rule.condition.model == nil {
        outside += Double(tensor.shape.elementCount)
      } else {
        inside += Double(tensor.shape.elementCount)
      }
    }
    return inside > outside
  }

  /// Whether a tensor of this shape is a convolution whose outputs are pixels of three colours,
  /// shuffled to squares of 2×2 and more, and no other layer's inputs.
  private func makesPixels(_ shape: Shape) -> Bool {
    guard shape.rank == 4 else { return false }
    let count = shape.dimensions[0]
    return (2...8).contains { count == 3 * $0 * $0 } && !inputCounts.contains(count)
  }

  /// The name that the bias of a weight's layer has, in PyTorch's, Flax's and TensorFlow's manner.
  private static func biasName(ofWeight name: String) -> String? {
    for ending in ["weight", "kernel", "kernel:0"] where name.hasSuffix(ending) {
      return name.dropLast(ending.count) + (ending.hasSuffix(":0") ? "bias:0" : "bias")
    }
    return nil
  }
}

extension Recipe {
  /// What a tensor is by its name, type and shape, before it is known whether it is quantized.
  func role(_ name: String, _ tensor: Tensor) -> TensorRole {
    let isNumber = tensor.elementType.isFloatingPoint || tensor.elementType.isComplex
    if !isNumber || isDerived(name) { return .buffer }
    if positionTables.contains(where: { $0.matches(name) }) { return .positionTable }
    return name.hasSuffix("weight") && tensor.shape.rank >= 2 ? .weight : .parameter
  }

  /// Whether a tensor of this name follows from the architecture or is a running statistic.
  func isDerived(_ name: String) -> Bool { buffers.contains { $0.matches(name) } }
}
