import Formats
import OrderedCollections

/// Decides tensor by tensor, with what must be known of the whole archive.
struct Planner {
  private let recipe: Recipe
  /// For a name of a shared tensor, all its names in the order of the archive.
  private let sharedNames: [String: [String]]

  /// - Throws: `TransformError` when a pattern of a rule matches no name and none may.
  init(_ archive: TensorArchive, recipe: Recipe) throws {
    self.recipe = recipe
    sharedNames = Self.sharedNames(archive)
    guard !recipe.allowsUnmatchedPatterns else { return }
    for glob in recipe.rules.flatMap(\.match)
    where !archive.tensors.keys.contains(where: glob.matches) {
      throw TransformError(.unmatchedPattern(glob.pattern), recipe: recipe.errorName)
    }
  }

  func entry(_ name: String, _ tensor: Tensor) throws -> QuantizationPlan.Entry {
    let role = role(name, tensor)
    let names = sharedNames[name] ?? [name]
    return QuantizationPlan.Entry(
      name: name, elementType: tensor.elementType, shape: tensor.shape, role: role,
      sharedWith: names.first == name ? nil : names.first,
      quantization: try quantization(names, tensor), sourceByteCount: tensor.byteCount)
  }

  private func role(_ name: String, _ tensor: Tensor) -> TensorRole {
    let isBuffer =
      !(tensor.elementType.isFloatingPoint || tensor.elementType.isComplex)
      || recipe.buffers.contains { $0.matches(name) }
    if isBuffer { return .buffer }
    if recipe.positionTables.contains(where: { $0.matches(name) }) { return .positionTable }
    return name.hasSuffix("weight") && tensor.shape.rank >= 2 ? .weight : .parameter
  }

  /// The quantization under the first name; `nil` where a rule keeps the tensor under any of its
  /// names, because what a head may not lose the embedding that is tied to it must keep.
  private func quantization(_ names: [String], _ tensor: Tensor) throws
    -> QuantizationPlan.Quantization?
  {
    let all = names.map { name in
      role(name, tensor) == .buffer
        ? nil
        : recipe.settings(name: name, elementType: tensor.elementType, shape: tensor.shape)
    }
    guard !all.contains(nil), let settings = all.first ?? nil, let name = names.first else {
      return nil
    }
    func refused(_ reason: String) -> TransformError {
      TransformError(
        .cannotQuantize(reason: reason), recipe: recipe.errorName, tensor: name)
    }
    guard QuantizedTensor.supportedElementTypes.contains(tensor.elementType) else {
      throw refused("\(tensor.elementType) elements cannot be quantized")
    }
    let layout: AffineLayout
    do {
      layout = try AffineLayout(
        shape: tensor.shape, granularity: settings.granularity,
        parts: settings.granularity == .tensor ? settings.parts : 1)
    } catch let error as FormatError {
      throw refused("\(error)")
    }
    guard let codeByteCount = QuantizedTensor.codeByteCount(layout, bitWidth: settings.bitWidth)
    else { throw refused("\(tensor.shape) at \(settings.bitWidth) bits overflows") }
    return QuantizationPlan.Quantization(
      bitWidth: settings.bitWidth, layout: layout,
      stackedCount: layout.rows.isMultiple(of: settings.parts) ? settings.parts : 1,
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
