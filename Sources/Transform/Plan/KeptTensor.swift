import Formats
import OrderedCollections
import Storage

/// A tensor that a recipe leaves in full precision, and why.
package struct KeptTensor: Codable, Hashable, Sendable {
  /// The tensor's full name; for a shared tensor, the first one.
  package let name: String
  /// The element type, as `ElementType.rawValue`.
  package let elementType: String
  /// The dimensions, outermost first.
  package let shape: [Int]
  /// The number of bytes of the elements.
  package let byteCount: Int
  /// Its fraction of the bytes of all tensors except buffers, 0…1; `nil` for buffers.
  package let share: Double?
  /// The reason in a few words.
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

  /// Groups the tensors by reason, those with the most bytes first; buffers come last.
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

  /// Returns one sentence on the kept tensors, without a full stop; `nil` if they are at most a
  /// tenth of the bytes.
  package static func remark(on kept: [KeptTensor]) -> String? {
    let share = kept.reduce(0) { $0 + ($1.share ?? 0) }
    guard share > 0.1 else { return nil }
    let counted = kept.filter { $0.share != nil }
    let main = groups(counted).prefix(3).filter { $0.share >= share / 20 }
    let parts = main.map { "\(percent($0.share)) \($0.reason)" }
    return "kept in full precision: \(percent(share)) of the bytes, in \(counted.count) "
      + (counted.count == 1 ? "tensor" : "tensors") + ": " + parts.joined(separator: "; ")
  }

  /// Returns the reasons for which most bytes are kept, each with a tensor.
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
  /// Returns the tensors that a packed file keeps, from its header alone.
  ///
  /// - Throws: `ModelError` when the header's recipe is one that this program cannot read.
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
