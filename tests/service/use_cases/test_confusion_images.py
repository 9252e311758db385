"""Images behind a confusion: what is told by features alone."""

import torch

from service.use_cases.confusion_images import ask_features


class Asking:
    """Answers with what it is given, and wants the images of rows that are marked, one kind after the other."""

    def predict_features(self, features, images_of):
        for mark in (1, 2):
            chosen = (features[:, 0] == mark).nonzero().squeeze(1)
            if len(chosen):
                images_of(chosen)
        return features


def test_rows_whose_images_a_synapse_wants_are_left_to_be_looked_at():
    features = torch.tensor([[0.0, 10.0], [1, 11], [0, 12], [2, 13], [0, 14], [1, 15]])
    rows, answers = ask_features(Asking(), features)
    assert rows == [0, 2, 4]
    assert answers.tolist() == features[rows].tolist()


def test_where_all_images_are_wanted_features_answer_nothing():
    assert ask_features(Asking(), torch.ones(3, 2)) == ([], None)
