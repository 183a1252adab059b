/// What is known of a class or function that a pickle names.
struct PickleGlobalJudgement: Hashable, Sendable {
  let verdict: PickleVerdict
  let knownFor: String?

  init(_ verdict: PickleVerdict, _ knownFor: String?) {
    self.verdict = verdict
    self.knownFor = knownFor
  }

  /// - Parameter name: the dotted name in Python 3.
  init(of name: String) {
    if let hazard = PickleHazards.names[name] {
      self.init(.dangerous, hazard)
      return
    }
    if PyTorchGlobals.isAllowed(name) {
      self.init(.allowed, PyTorchGlobals.remarks[name])
      return
    }
    let parts = name.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
    for count in stride(from: parts.count - 1, to: 0, by: -1) {
      if let hazard = PickleHazards.modules[parts[..<count].joined(separator: ".")] {
        self.init(.dangerous, hazard)
        return
      }
    }
    // A dotted name walks through attributes: `torch.serialization.os.system` is `os.system`.
    if parts.dropFirst().contains(where: PickleHazards.attributes.contains) {
      self.init(.dangerous, "reaches other modules through attributes")
      return
    }
    self.init(.unknown, nil)
  }
}
