import Formats
import OrderedCollections
import Storage

/// A tensor that a recipe leaves in full precision, and why.
package struct KeptTensor: Codable, Hashable, Sendable {
  /// The tensor's full name; the first of a shared tensor's.
  package let name: String
  /// As `ElementType.rawValue`.
  package let elementType: String
  /// Dimensions, outermost first.
  package let shape: [Int]
  /// Bytes of the elements.
  package let byteCount: Int
  /// Its share of the bytes of all tensors but buffers, 0…1; `nil` for buffers themselves.
  package let share: Double?
  /// Why, in a few words.
  package let reason: String
}

extension KeptTensor {
  /// Tensors that are kept for the same reason.
  package struct Group: Hashable, Sendable {
    package let reason: String
    package fileprivate(set) var names: [String] = []
    package fileprivate(set) var byteCount = 0
    package fileprivate(set) var share = 0.0
  }

  /// The tensors by reason, those with the most bytes first; buffers come last.
  package static func groups(_ kept: [KeptTensor]) -> [Group] {
    var groups: OrderedDictionary<String, Group> = [:]
    for tensor in kept {
      var group = groups[tensor.reason] ?? Group(reason: tensor.reason)
      group.names.append(tensor.name)
      group.byteCount += tensor.byteCount
      group.share += tensor.share ?? 0
      groups[tensor.reason] = group
    }
    return groups.values.sorted { ($0.share, $0.byteCount) > ($1.share, $1.byteCount) }
  }

  /// One sentence on what is kept, without an end; `nil` where it is no more than a tenth of the bytes.
  package static func remark(on kept: [KeptTensor]) -> String? {
    let share = kept.reduce(0) { $0 + ($1.share ?? 0) }
    guard share > 0.1 else { return nil }
    let counted = kept.filter { $0.share != nil }
    let main = groups(counted).prefix(3).filter { $0.share >= share / 20 }
    let parts = main.map { "\(percent($0.share)) \($0.reason)" }
    return "kept in full precision: \(percent(share)) of the bytes, in \(counted.count) "
      + (counted.count == 1 ? "tensor" : "tensors") + ": " + parts.joined(separator: "; ")
  }

  /// The reasons that most bytes are kept for, each with a tensor.
  static func reasons(of kept: [KeptTensor]) -> String {
    groups(kept).prefix(3).map { group in
      let others = group.names.count - 1
      let rest = others == 0 ? "" : others == 1 ? " and 1 other" : " and \(others) others"
      return "'\(group.names[0])'\(rest): \(group.reason)"
    }.joined(separator: "; ")
  }

  private static func percent(_ share: Double) -> String {
    let tenths = Int((share * 1000).rounded())
    return "\(tenths / 10).\(tenths % 10) %"
  }
}

extension KeptTensor {
  /// What a packed file keeps, by its header alone.
  ///
  /// - Throws: `ModelError` when the header has no recipe that this program knows.
  package static func list(of header: PackedHeader) throws -> [KeptTensor] {
    guard let recipe = header.recipe else { return [] }
    var archive = TensorArchive()
    var entries: [PackedEntry] = []
    var seen: Set<Int> = []
    for (name, index) in header.names where seen.insert(index).inserted {
      var entry = header.entries[index]
      entry.name = name
      entries.append(entry)
      archive.tensors[name] = try Tensor(elementType: entry.elementType, shape: entry.shape) {
        throw ModelError.malformed("its elements are in the packed file", tensor: name)
      }
    }
    let plan = try QuantizationPlan(
      allowingNothing: archive, recipe: Recipe(recipe, source: "the packed file's recipe"))
    let isQuantized = Set(
      entries.filter { if case .affine = $0.encoding { true } else { false } }.map(\.name))
    return plan.settingKept { name in
      isQuantized.contains(name) ? nil : "shares its elements with a tensor that is kept"
    }.keptTensors
  }
}
