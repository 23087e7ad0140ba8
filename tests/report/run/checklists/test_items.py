from fusion_ln.report.run.checklists.items import CLAIM_2024


def test_claim_s_items_are_numbered_1_to_44_and_speak_of_testing():
    assert [item.number for item in CLAIM_2024] == [str(number) for number in range(1, 45)]
    topics = " ".join(item.asks_for for item in CLAIM_2024).lower()
    assert "reference standard" in topics
    assert not {"gold", "ground truth", "validation"} & set(topics.split())
