import Formats
import OrderedCollections

/// The properties of a whole model that rules may test, known from its index alone.
struct ModelOutline {
  /// Whether rules for convolutional models apply.
  private let isConvolutional: Bool
  private let names: Set<String>
  private let method: QuantizationMethod
  /// The input channels of convolutions and the columns of linear weights.
  private let inputCounts: Set<Int>
  /// The shapes that several weights have.
  private let commonShapes: Set<Shape>

  init(_ archive: TensorArchive, recipe: Recipe) {
    let weights = archive.tensors.filter { name, tensor in
      tensor.shape.matrix != nil && recipe.role(name, tensor) != .buffer
    }
    names = Set(archive.tensors.keys)
    inputCounts = Set(weights.values.map { $0.shape.dimensions[1] })
    let shapes = Dictionary(grouping: weights.values.map(\.shape)) { $0 }
    commonShapes = Set(shapes.filter { $0.value.count > 1 }.keys)
    method = recipe.method.method
    let undecided = ModelOutline(
      names: names, inputCounts: inputCounts, commonShapes: commonShapes, method: method,
      isConvolutional: true)
    isConvolutional = undecided.areConvolutionsMost(of: weights, recipe)
  }

  private init(
    names: Set<String>, inputCounts: Set<Int>, commonShapes: Set<Shape>,
    method: QuantizationMethod, isConvolutional: Bool
  ) {
    self.names = names
    self.commonShapes = commonShapes
    self.method = method
    self.inputCounts = inputCounts
    self.isConvolutional = isConvolutional
  }

  func subject(_ name: String, _ tensor: Tensor) -> RecipeSubject {
    RecipeSubject(
      name: name, elementType: tensor.elementType, shape: tensor.shape,
      hasBias: Self.biasName(ofWeight: name).map(names.contains) ?? false,
      makesPixels: makesPixels(tensor.shape), isInConvolutionalModel: isConvolutional,
      method: method)
  }

  /// Whether rules for convolutional models, if they applied, would quantize more elements than
  /// other rules.
  private func areConvolutionsMost(
    of weights: OrderedDictionary<String, Tensor>, _ recipe: Recipe
  ) -> Bool {
    guard recipe.rules.contains(where: { $0.condition.model != nil }) else { return false }
    var (inside, outside) = (0.0, 0.0)
    for (name, tensor) in weights {
      let subject = subject(name, tensor)
      guard let rule = recipe.rules.first(where: { $0.matches(subject) }), !rule.isForTables,
        rule.action != .keep
      else { continue }
      if rule.condition.model == nil {
        outside += Double(tensor.shape.elementCount)
      } else {
        inside += Double(tensor.shape.elementCount)
      }
    }
    return inside > outside
  }

  /// Whether a tensor of this shape is a convolution whose outputs are pixels with three color
  /// channels, shuffled to squares of 2×2 or more, and not inputs of another layer. Blocks of a body
  /// repeat their shapes: 64 channels have queries, keys and values of 3·8² together.
  private func makesPixels(_ shape: Shape) -> Bool {
    guard shape.rank == 4 else { return false }
    let count = shape.dimensions[0]
    return (2...8).contains { count == 3 * $0 * $0 } && !inputCounts.contains(count)
      && !commonShapes.contains(shape)
  }

  /// Returns the name of the bias of a weight's layer by PyTorch's, Flax's and TensorFlow's
  /// conventions.
  private static func biasName(ofWeight name: String) -> String? {
    for ending in ["weight", "kernel", "kernel:0"] where name.hasSuffix(ending) {
      return name.dropLast(ending.count) + (ending.hasSuffix(":0") ? "bias:0" : "bias")
    }
    return nil
  }
}

extension Recipe {
  /// Returns a tensor's role by its name, type and shape, regardless of whether it is quantized.
  func role(_ name: String, _ tensor: Tensor) -> TensorRole {
    let isNumber = tensor.elementType.isFloatingPoint || tensor.elementType.isComplex
    if !isNumber || isDerived(name) { return .buffer }
    if positionTables.contains(where: { $0.matches(name) }) { return .positionTable }
    return name.hasSuffix("weight") && tensor.shape.rank >= 2 ? .weight : .parameter
  }

  /// Whether a tensor of this name is determined by the architecture or is a running statistic.
  func isDerived(_ name: String) -> Bool { buffers.contains { $0.matches(name) } }
}
