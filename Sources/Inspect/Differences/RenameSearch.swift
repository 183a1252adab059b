import Formats
import LinearAlgebra

/// Pairs tensors that only one archive names with equal ones of another name.
struct RenameSearch {
  let archiveA: TensorArchive
  let archiveB: TensorArchive
  let threads: Int

  private struct Content: Hashable {
    let elementType: ElementType
    let shape: Shape
    let digest: Int
  }

  /// Equal tensors of which there are several are paired in the order of their archives. Empty
  /// tensors are left alone.
  ///
  /// - Returns: pairs in the order of `namesA`.
  func pairs(_ namesA: [String], _ namesB: [String]) throws -> [(a: String, b: String)] {
    let isInA = Set(namesA.compactMap { archiveA.tensors[$0].map(Self.outline) })
    let isInB = Set(namesB.compactMap { archiveB.tensors[$0].map(Self.outline) })
    let common = isInA.intersection(isInB)
    let contentsA = try contents(of: namesA, in: archiveA, outlines: common)
    let contentsB = try contents(of: namesB, in: archiveB, outlines: common)

    var candidates: [Content: [String]] = [:]
    for (name, content) in contentsB { candidates[content, default: []].append(name) }
    var pairs: [(a: String, b: String)] = []
    for (name, content) in contentsA {
      guard let others = candidates[content],
        let index = try others.firstIndex(where: { try isEqual(name, $0) })
      else { continue }
      pairs.append((name, others[index]))
      candidates[content]?.remove(at: index)
    }
    return pairs
  }

  private static func outline(_ tensor: Tensor) -> Content {
    Content(elementType: tensor.elementType, shape: tensor.shape, digest: 0)
  }

  private func contents(
    of names: [String], in archive: TensorArchive, outlines: Set<Content>
  ) throws -> [(name: String, content: Content)] {
    let tensors = names.compactMap { name in archive.tensors[name].map { (name, $0) } }
      .filter { $1.byteCount > 0 && outlines.contains(Self.outline($1)) }
    return try parallelMap(count: tensors.count, threads: threads) { index in
      let (name, tensor) = tensors[index]
      var hasher = Hasher()
      try locatingErrors(tensor: name) { try tensor.bytes() }.withUnsafeBytes {
        hasher.combine(bytes: $0)
      }
      let content = Content(
        elementType: tensor.elementType, shape: tensor.shape, digest: hasher.finalize())
      return (name, content)
    }
  }

  /// A digest alone proves nothing.
  private func isEqual(_ nameA: String, _ nameB: String) throws -> Bool {
    guard let a = archiveA.tensors[nameA], let b = archiveB.tensors[nameB] else { return false }
    return try a.bytes().elementsEqual(try b.bytes())
  }
}
