import Formats
import OrderedCollections

/// Decides tensor by tensor, with what must be known of the whole archive.
struct Planner {
  private let recipe: Recipe
  /// For a name of a shared tensor, all its names in the order of the archive.
  private let sharedNames: [String: [String]]
  private let model: ModelOutline

  /// - Throws: `TransformError` when a pattern of a rule matches no name and none may.
  init(_ archive: TensorArchive, recipe: Recipe) throws {
    self.recipe = recipe
    sharedNames = Self.sharedNames(archive)
    model = ModelOutline(archive, recipe: recipe)
    guard !recipe.allowsUnmatchedPatterns else { return }
    for glob in recipe.rules.flatMap(\.match)
    where !archive.tensors.keys.contains(where: glob.matches) {
      throw TransformError(.unmatchedPattern(glob.pattern), recipe: recipe.errorName)
    }
  }

  func entry(_ name: String, _ tensor: Tensor) throws -> QuantizationPlan.Entry {
    let names = sharedNames[name] ?? [name]
    let role = recipe.role(name, tensor)
    let (quantization, reason) = try outcome(names, tensor)
    return QuantizationPlan.Entry(
      name: name, elementType: tensor.elementType, shape: tensor.shape,
      role: quantization != nil && tensor.shape.rank >= 2 ? .weight : role,
      sharedWith: names.first == name ? nil : names.first,
      quantization: quantization, keptBecause: reason, sourceByteCount: tensor.byteCount)
  }

  /// The quantization under the first name, or why the tensor is kept: a rule that keeps it under any
  /// of its names does, because what a head may not lose the embedding that is tied to it must keep.
  private func outcome(_ names: [String], _ tensor: Tensor) throws
    -> (quantization: QuantizationPlan.Quantization?, keptBecause: String?)
  {
    var settings: QuantizationSettings?
    for name in names {
      switch decision(name, tensor) {
      case .quantize(let found): settings = settings ?? found
      case .keep(let reason):
        return (nil, name == names.first ? reason : "\(reason) (as '\(name)')")
      }
    }
    guard let settings, let name = names.first else { return (nil, nil) }
    return (try quantization(settings, name, tensor), nil)
  }

  private func decision(_ name: String, _ tensor: Tensor) -> Recipe.Decision {
    guard recipe.role(name, tensor) == .buffer else {
      return recipe.decision(on: model.subject(name, tensor))
    }
    return .keep(
      reason: recipe.isDerived(name) ? "buffer" : "\(tensor.elementType) elements")
  }

  private func quantization(_ settings: QuantizationSettings, _ name: String, _ tensor: Tensor)
    throws -> QuantizationPlan.Quantization
  {
    func refused(_ reason: String) -> TransformError {
      TransformError(
        .cannotQuantize(reason: reason), recipe: recipe.errorName, tensor: name)
    }
    guard QuantizedTensor.supportedElementTypes.contains(tensor.elementType) else {
      throw refused("\(tensor.elementType) elements cannot be quantized")
    }
    let parts = settings.parts.resolved(for: tensor.shape)
    let layout: AffineLayout
    do {
      layout = try AffineLayout(
        shape: tensor.shape, granularity: settings.granularity,
        parts: settings.granularity == .tensor ? parts : 1)
    } catch let error as FormatError {
      throw refused("\(error)")
    }
    guard let codeByteCount = QuantizedTensor.codeByteCount(layout, bitWidth: settings.bitWidth)
    else { throw refused("\(tensor.shape) at \(settings.bitWidth) bits overflows") }
    return QuantizationPlan.Quantization(
      bitWidth: settings.bitWidth, layout: layout,
      stackedCount: layout.rows.isMultiple(of: parts) ? parts : 1,
      parameterType: settings.parameterType, search: settings.search, codeByteCount: codeByteCount,
      parameterByteCount: QuantizedTensor.parameterByteCount(layout, settings.parameterType))
  }

  private struct View: Hashable {
    let storage: ObjectIdentifier
    let offset: Int
    let strides: [Int]
    let shape: Shape
    let elementType: ElementType
  }

  private static func sharedNames(_ archive: TensorArchive) -> [String: [String]] {
    var names: [View: [String]] = [:]
    for (name, tensor) in archive.tensors {
      // Empty tensors of one storage have nothing to share.
      guard let view = tensor.view, tensor.shape.elementCount > 0 else { continue }
      let key = View(
        storage: ObjectIdentifier(view.storage), offset: view.elementOffset,
        strides: view.strides, shape: tensor.shape, elementType: tensor.elementType)
      names[key, default: []].append(name)
    }
    var shared: [String: [String]] = [:]
    for group in names.values where group.count > 1 {
      for name in group { shared[name] = group }
    }
    return shared
  }
}
