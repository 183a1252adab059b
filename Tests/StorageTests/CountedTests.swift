import Storage
import Testing

@Suite struct CountedTests {
  @Test(arguments: [
    (0, "tensor", "0 tensors"), (1, "tensor", "1 tensor"), (2, "further frame", "2 further frames"),
    (1, "entry", "1 entry"), (2, "other entry", "2 other entries"), (2, "array", "2 arrays"),
    (3, "patch", "3 patches"), (2, "box", "2 boxes"), (2, "class", "2 classes"),
  ])
  func nounsAgreeWithCount(count: Int, noun: String, text: String) {
    #expect(counted(count, noun) == text)
  }
}
