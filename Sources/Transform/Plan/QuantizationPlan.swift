import Formats
import OrderedCollections
import Storage

/// The treatment of each tensor of a model by a recipe, known from the model's index alone.
///
/// Sizes of quantized tensors are exact; kept tensors are counted in full precision, without the
/// lossless encoding of a packed file.
package struct QuantizationPlan: Sendable {
  /// How a quantized tensor is stored.
  package struct Quantization: Hashable, Sendable {
    /// Which elements share parameters, how wide codes are, and how parameters are stored.
    package let spec: AffineSpec
    /// The number of matrices stacked along the rows, which are conditioned separately. The
    /// layout's parts equal it only for the granularity per tensor.
    let stackedCount: Int
    /// The method by which bounds are found.
    package let search: BoundSearchMethod
    /// The narrowest codes that a budget may choose.
    let leastBitWidth: Int
    /// The number of bytes of the packed codes.
    package let codeByteCount: Int
    /// The number of bytes of the lower bounds and scales.
    package var parameterByteCount: Int { spec.parameterByteCount }
    /// The bit width of a code, 1 to 8.
    package var bitWidth: Int { spec.bitWidth }
    /// Which elements share a lower bound and a scale.
    package var layout: AffineLayout { spec.layout }

    /// - Throws: `ModelError` when the number of bits overflows.
    init(
      _ spec: AffineSpec, of shape: Shape, stackedCount: Int, search: BoundSearchMethod,
      leastBitWidth: Int
    ) throws {
      guard let codeByteCount = spec.codeByteCount else {
        throw ModelError("\(shape) at \(spec.bitWidth) bits overflows")
      }
      self.spec = spec
      self.stackedCount = stackedCount
      self.search = search
      self.leastBitWidth = leastBitWidth
      self.codeByteCount = codeByteCount
    }
  }

  /// The treatment of one tensor.
  package struct Entry: Hashable, Sendable {
    /// The tensor's full name.
    package let name: String
    /// The type of its elements in full precision.
    package let elementType: ElementType
    /// The lengths of its axes.
    package let shape: Shape
    /// Its role in the model, which decides how ratios count it.
    package let role: TensorRole
    /// The earlier tensor that has the same elements in the same storage, such as the embedding to
    /// which a head is tied. Both are treated alike and counted once.
    package let sharedWith: String?
    /// How it is quantized; `nil` for tensors that are kept.
    package let quantization: Quantization?
    /// Why the tensor is kept; `nil` for tensors that are quantized.
    package let keptBecause: String?
    /// The number of bytes in full precision.
    package let sourceByteCount: Int

    /// The number of bytes of codes and parameters, or of the elements of a kept tensor.
    package var payloadByteCount: Int {
      quantization.map { $0.codeByteCount + $0.parameterByteCount } ?? sourceByteCount
    }
  }

  /// The requested recipe.
  package let recipe: Recipe
  /// Every tensor under its name, in the order of the archive.
  package internal(set) var entries: OrderedDictionary<String, Entry>

  /// Plans the quantization of `archive` from its index.
  ///
  /// - Throws: `ModelError` when a pattern matches nothing, a rule selects a tensor that cannot be
  ///   quantized, or a recipe that quantizes selects nothing.
  package init(_ archive: TensorArchive, recipe: Recipe) throws {
    self = try QuantizationPlan(allowingNothing: archive, recipe: recipe)
    guard !quantizesNothing || recipe.rules.allSatisfy({ $0.action == .keep }) else {
      let reasons = KeptTensor.reasons(of: keptTensors)
      let advice = RecipeAdvice(archive, insteadOf: recipe)?.text
      throw ModelError(
        "selects no tensor of this model"
          + (reasons.isEmpty ? "" : " (\(reasons))") + (advice.map { "; \($0)" } ?? ""),
        path: recipe.errorName)
    }
  }

  /// Creates a plan that may quantize nothing.
  ///
  /// - Throws: `ModelError` as `init(_:recipe:)` does, but not where nothing is selected.
  package init(allowingNothing archive: TensorArchive, recipe: Recipe) throws {
    let planner = try Planner(archive, recipe: recipe)
    var entries: OrderedDictionary<String, Entry> = [:]
    for (name, tensor) in archive.tensors {
      entries[name] = try planner.entry(name, tensor)
    }
    self.recipe = recipe
    self.entries = entries
  }

  var quantizesNothing: Bool { entries.values.allSatisfy { $0.quantization == nil } }

  /// The tensors kept in full precision, in the order of the archive, shared ones once.
  package var keptTensors: [KeptTensor] {
    let entries = distinctEntries
    let total = entries.reduce(0) { $0 + (recipe.isDerived($1.name) ? 0 : $1.sourceByteCount) }
    return entries.compactMap { entry in
      entry.keptBecause.map { reason in
        KeptTensor(
          name: entry.name, elementType: entry.elementType.rawValue,
          shape: entry.shape.dimensions, byteCount: entry.sourceByteCount,
          share: recipe.isDerived(entry.name)
            ? nil : Double(entry.sourceByteCount) / Double(max(1, total)), reason: reason)
      }
    }
  }

  /// The names of quantized tensors in the order of the archive, shared ones once.
  package var quantizedNames: [String] {
    distinctEntries.filter { $0.quantization != nil }.map(\.name)
  }

  /// The number of quantized elements, with shared ones counted once.
  package var quantizedElementCount: Int {
    distinctEntries.reduce(0) { $0 + ($1.quantization == nil ? 0 : $1.shape.elementCount) }
  }

  /// The number of elements of all parameters, including tables, with shared ones counted once.
  package var parameterCount: Int {
    distinctEntries.reduce(0) { $0 + ($1.role == .buffer ? 0 : $1.shape.elementCount) }
  }

  /// The number of bytes of codes, quantizer parameters and full-precision tensors, without
  /// buffers.
  package var payloadByteCount: Int {
    distinctEntries.reduce(0) { $0 + ($1.role == .buffer ? 0 : $1.payloadByteCount) }
  }

  /// The number of bytes of the buffers, not encoded.
  var bufferByteCount: Int {
    distinctEntries.reduce(0) { $0 + ($1.role == .buffer ? $1.payloadByteCount : 0) }
  }

  /// The compression ratios of the parameters.
  package var ratios: CompressionRatios {
    CompressionRatios(
      distinctEntries.map { entry in
        CompressionRatios.Item(
          role: entry.role, elementCount: entry.shape.elementCount,
          originalBitWidth: entry.elementType.bitWidth,
          bitWidth: entry.quantization?.bitWidth ?? entry.elementType.bitWidth)
      })
  }

  /// Returns the plan with the tensors kept for which `reason` returns a reason; the plan's own
  /// reasons take precedence.
  func settingKept(_ reason: (_ name: String) -> String?) -> QuantizationPlan {
    var plan = self
    for (name, entry) in entries {
      let found = reason(name)
      plan.entries[name] = Entry(
        name: name, elementType: entry.elementType, shape: entry.shape, role: entry.role,
        sharedWith: entry.sharedWith, quantization: entry.quantization,
        keptBecause: found == nil ? nil : entry.keptBecause ?? found,
        sourceByteCount: entry.sourceByteCount)
    }
    return plan
  }

  /// Whether another tensor shares this one's storage.
  func isShared(_ name: String) -> Bool {
    entries[name]?.sharedWith != nil || entries.values.contains { $0.sharedWith == name }
  }

  private var distinctEntries: [Entry] { entries.values.filter { $0.sharedWith == nil } }
}

extension Recipe {
  /// The recipe's name in an error about a model.
  var errorName: String { "recipe '\(name)'" }
}

/// Decides on each tensor, with facts about the whole archive.
struct Planner {
  private let recipe: Recipe
  /// All names of a shared tensor in the order of the archive, by each of its names.
  private let sharedNames: [String: [String]]
  private let model: ModelOutline

  /// - Throws: `ModelError` when a rule's pattern matches no name and the recipe does not allow
  ///   that.
  init(_ archive: TensorArchive, recipe: Recipe) throws {
    self.recipe = recipe
    sharedNames = Self.sharedNames(archive)
    model = ModelOutline(archive, recipe: recipe)
    guard !recipe.allowsUnmatchedPatterns else { return }
    for glob in recipe.rules.flatMap(\.match)
    where !archive.tensors.keys.contains(where: glob.matches) {
      throw ModelError(
        "no tensor name matches '\(glob)'" + glob.suggestion(among: archive.tensors.keys),
        path: recipe.errorName)
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

  /// Returns the quantization under the first name, or why the tensor is kept. A rule that keeps it
  /// under any of its names decides: if a head must keep its bits, so must the embedding tied to
  /// it.
  private func outcome(_ names: [String], _ tensor: Tensor) throws
    -> (quantization: QuantizationPlan.Quantization?, keptBecause: String?)
  {
    var settings: QuantizationSettings?
    for name in names {
      switch decision(name, tensor) {
      case .quantize(let found):
        // A matrix that is also a table gets the bits of a table.
        let least = max(settings?.leastBitWidth ?? 1, found.leastBitWidth)
        if settings.map({ $0.bitWidth < found.bitWidth }) ?? true { settings = found }
        settings?.leastBitWidth = least
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
    func refused(_ reason: String) -> ModelError {
      ModelError(reason, path: recipe.errorName, tensor: name)
    }
    guard QuantizedTensor.supportedElementTypes.contains(tensor.elementType) else {
      throw refused("\(tensor.elementType) elements cannot be quantized")
    }
    let parts = settings.parts.resolved(for: tensor.shape)
    let isGrouped = if case .group = settings.granularity { true } else { false }
    let isAlone = recipe.method.method == .nearest
    let parameterType = settings.parameterType ?? (isGrouped && isAlone ? .scaled6 : .float32)
    guard parameterType != .scaled6 || recipe.method.distillation == nil else {
      throw refused("learning moves bounds freely, which 'scaled6' parameters cannot follow")
    }
    guard settings.search != .joint || isGrouped else {
      throw refused("the search 'joint' is for groups, not for \(settings.granularity)")
    }
    let isSingle = settings.search == .dobi || settings.search == .free
    let search = parameterType == .scaled6 && isSingle ? .joint : settings.search
    do {
      let layout = try AffineLayout(
        shape: tensor.shape, granularity: settings.granularity,
        parts: settings.granularity == .tensor ? parts : 1)
      let spec = AffineSpec(
        layout: layout, bitWidth: settings.bitWidth, parameterType: parameterType)
      try spec.checkParameterType()
      return try QuantizationPlan.Quantization(
        spec, of: tensor.shape, stackedCount: layout.rows.isMultiple(of: parts) ? parts : 1,
        search: search, leastBitWidth: settings.leastBitWidth)
    } catch let error as ModelError {
      throw refused("\(error)")
    }
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
      // Empty tensors have nothing to share.
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
